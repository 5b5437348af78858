"""What one arm of a study is, as a value: how it differs from the study's base, and what it starts from."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from workbench.augmentation import UNCHANGED, Augmentation, check_augmentation
from workbench.edits import Edit
from workbench.plan import Budget, Inputs, Objective, Seed, check_inputs, check_signal
from workbench.recipes import Data
from workbench.spec import Adapters, Name, Value, later


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds are {list(seeds)}, but a seed that is used twice is one training: name each once")
    return seeds


Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_different)]
Rate = Annotated[float, Field(strict=True, gt=0)]


class Arm(Value):
    """A name and what makes it out of the study's base.

    It starts from the base or `after` an injection: every slot but the head has that one's weights, with its `adapters`
    (low-rank updates) merged into them or kept. `edits` change the model, `inputs` what it is given: at test, or,
    `retrained`, at training too. `budget` changes fields of the study's. `learning_rates` are all tried; the one with
    the most success on the selection episodes is reported. `parameters_of` names an arm: the rank of this one's
    low-rank updates is chosen so that it trains as many parameters, whatever rank is written. `reference = "expert"` is
    no model at all: the benchmark's scripted expert plays.
    """

    name: Name
    reference: Literal["expert"] | None = None
    after: str | None = None
    adapters: Adapters = "merged"
    edits: tuple[Edit, ...] = ()
    inputs: Inputs = Inputs()
    retrained: bool = False
    budget: dict[str, Any] = {}
    learning_rates: tuple[Rate, ...] = ()
    parameters_of: Name | None = None
    seeds: Seeds | None = None

    @model_validator(mode="after")
    def _possible(self) -> "Arm":
        own = {name: field for name, field in type(self).model_fields.items() if name not in ("name", "reference")}
        changed = [name for name, field in own.items() if getattr(self, name) != field.default]
        if self.reference and changed:
            raise ValueError(f"{changed[0]} says nothing of the expert, which is no model: leave it out")
        _check_adapters(self)
        if self.retrained and self.inputs == Inputs():
            raise ValueError("retrained is true, but inputs change nothing: name what it is trained without")
        check_inputs(self.inputs, trained=self.retrained)
        if self.learning_rates and "learning_rate" in self.budget:
            raise ValueError("learning_rates and budget.learning_rate exclude each other")
        if len(set(self.learning_rates)) == 1 or len(set(self.learning_rates)) < len(self.learning_rates):
            raise ValueError("learning_rates are two or more different ones, to choose from")
        return self


class Injection(Value):
    """A control signal that is trained into the vision encoder once, and shared by every arm and seed that names it.

    It starts from the base, or `after` another injection as an arm does: a chain of stages, each of which is a run.
    """

    objective: Objective = "behaviour-cloning"
    after: str | None = None
    adapters: Adapters = "merged"
    edits: tuple[Edit, ...] = ()
    data: Data
    augmentation: Augmentation = later(UNCHANGED)
    budget: Budget
    seed: Seed = 0

    @model_validator(mode="after")
    def _possible(self) -> "Injection":
        check_signal(self.objective, self.data)
        check_augmentation(self.objective, self.augmentation)
        _check_adapters(self)
        return self


def _check_adapters(stage: Arm | Injection) -> None:
    if stage.adapters == "kept" and stage.after is None:
        raise ValueError("adapters are 'kept', but after names no injection that they could come from")


class Contrast(Value):
    """A difference declared before the runs: the success of `a` minus that of `b`."""

    name: str
    a: str
    b: str
