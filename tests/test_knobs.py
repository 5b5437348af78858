"""No dead knobs: what a study can say is read by the code that carries it out."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from ablations.study import Study
from workbench.spec import Value

HOUSE = Path(__file__).parent.parent
PACKAGES = ("encoders", "workbench", "ablations")


def sources() -> list[ast.Module]:
    return [ast.parse(path.read_text()) for package in PACKAGES for path in sorted((HOUSE / package).rglob("*.py"))]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def reachable(model: type[BaseModel]) -> set[type[BaseModel]]:
    """The model and every model that its fields may hold."""
    found, new = set(), {model}
    while new:
        found |= new
        new = {m for old in new for field in old.model_fields.values() for m in models_in(field.annotation)} - found
    return found


def knobs(model: type[BaseModel]) -> set[str]:
    """Its fields, but for those that can only have one value: tags, and facts that are there to be digested."""
    return {
        name
        for name, field in model.model_fields.items()
        if not (get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1)
    }


class Reads(ast.NodeVisitor):
    """Attributes that are read, but for two places that prove nothing.

    A model's private methods (validators above all: to check a value is not to use it), and `self.name` in any
    other class, which is that class's own attribute.
    """

    def __init__(self, models: set[str]) -> None:
        self.models, self.owner, self.names = models, "", set[str]()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self.owner = self.owner, node.name
        for part in node.body:
            private = isinstance(part, ast.FunctionDef) and part.name.startswith("_") and node.name in self.models
            if not private:
                self.visit(part)
        self.owner = outer

    def visit_Attribute(self, node: ast.Attribute) -> None:
        own = isinstance(node.value, ast.Name) and node.value.id == "self" and self.owner not in self.models
        if isinstance(node.ctx, ast.Load) and not own:
            self.names.add(node.attr)
        self.generic_visit(node)


def names_read(trees: Iterable[ast.AST], models: set[str]) -> set[str]:
    reads = Reads(models)
    for tree in trees:
        reads.visit(tree)
    return reads.names


def dead(models: set[type[BaseModel]], trees: Iterable[ast.AST]) -> set[str]:
    read = names_read(trees, {model.__name__ for model in models})
    return {f"{model.__name__}.{name}" for model in models for name in knobs(model) if name not in read}


def test_every_knob_of_a_study_is_read():
    assert dead(reachable(Study), sources()) == set()


def test_every_kind_of_value_in_a_study_is_looked_at():
    names = {model.__name__ for model in reachable(Study)}
    assert names == {
        *("Study", "Arm", "Injection", "Contrast", "Spec", "Slot", "Frozen", "Full", "Lora", "LastBlocks", "Norms"),
        *("SetTune", "Replace", "Reinit", "SetRate", "Inputs", "Budget", "Compute", "Protocol", "Expert", "Folder"),
        *("Augmentation", "NoProprioception"),
    }
    assert all(issubclass(model, Value) for model in reachable(Study))


class Planted(Value):
    """Both fields are dead: nobody asks for the first, and the second is only checked."""

    kind: Literal["planted"] = "planted"
    forgotten_knob: int = 0
    only_checked_knob: int = 0


def test_a_planted_dead_knob_is_caught():
    planted = ast.parse(
        "class Planted(Value):\n"
        "    forgotten_knob: int = 0\n"
        "    only_checked_knob: int = 0\n"
        "    def _possible(self):\n"
        "        assert self.only_checked_knob\n"
        "class Other:\n"
        "    def f(self, value):\n"
        "        value.forgotten_knob = self.forgotten_knob\n"
    )
    assert dead({Planted}, [*sources(), planted]) == {"Planted.forgotten_knob", "Planted.only_checked_knob"}
    user = ast.parse("def g(planted):\n    return planted.forgotten_knob + planted.only_checked_knob")
    assert dead({Planted}, [*sources(), planted, user]) == set()
