"""docs/slots.md is true: every example can be a model, every module and tune is named, and every name is known."""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from workbench.build import build
from workbench.edits import Edit, edited
from workbench.heads.registry import HEADS
from workbench.names import check_names
from workbench.projectors import PROJECTORS
from workbench.spec import SLOTS, Spec, Tune
from workbench.training.adapt import adapt

PAGE = (Path(__file__).parent.parent / "docs/slots.md").read_text()
EXAMPLES = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)]
ARMS: dict[str, Any] = {arm["name"]: arm["edits"] for example in EXAMPLES for arm in example.get("arms", ())}
ELSEWHERE = ("smollm2", "experts-only")
"""Examples for models that are not on every machine."""
EDITS: TypeAdapter[tuple[Edit, ...]] = TypeAdapter(tuple[Edit, ...])


@pytest.mark.parametrize("name", ARMS)
def test_every_example_of_an_arm_can_be_built_and_trained(name):
    spec = edited(Spec(), EDITS.validate_python(ARMS[name]))
    assert spec != Spec()
    if name not in ELSEWHERE:
        check_names(spec)
        policy, _ = build(spec, 0, chunk=2, root=Path())
        adapt(policy, spec, seed=0)


def test_every_other_example_is_a_base():
    bases = [example["base"] for example in EXAMPLES if "arms" not in example]
    assert len(bases) == 1
    for base in bases:
        check_names(Spec.model_validate(base))


def test_everything_that_can_fill_a_slot_and_every_tune_is_on_the_page():
    kinds = [kind.model_fields["kind"].default for kind in get_args(get_args(Tune)[0])]
    for name in (*SLOTS, *PROJECTORS, *HEADS, *kinds):
        assert re.search(rf"[`| ]{name}[`| ]", PAGE), name
