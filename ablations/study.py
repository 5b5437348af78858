"""A study: one TOML file that says what is asked, of which model, with which arms."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from ablations.arms import Arm, Contrast, Injection, Seeds
from ablations.halving.rungs import check_screen
from ablations.matched import as_large, check_parameters, step_flops, trained
from ablations.pace import BASE, check_seconds, like, seconds_of
from ablations.parse import first_error
from ablations.played import check_arm, check_data, with_played
from ablations.runs import resolved
from ablations.stages import begun, check_sources, in_order, reached, spec_of, spelt_out
from workbench.benchmarks.contract import Protocol
from workbench.errors import unknown
from workbench.plan import Budget, Compute
from workbench.recipes import Data, Expert, actions_of
from workbench.spec import Name, Spec, Value


class Study(Value):
    """The whole question as a value.

    `matched` is what is equal for every arm that does not change its own steps: the `steps`, or the `operations` or the
    `seconds` of the whole training, so that an arm whose steps are cheaper makes more of them. `step_seconds` are those
    of a step, as `workbench pace` measured them. With `screen`, arms that compete are halved before they are run in
    full (`ablations/halving`). What injections and arms say with `after` is spelt out as edits.
    """

    name: Name
    question: str
    base: Spec = Spec()
    protocol: Protocol
    data: Data
    budget: Budget
    compute: Compute = Compute()
    matched: Literal["steps", "operations", "seconds"] = "steps"
    step_seconds: dict[str, Annotated[float, Field(gt=0)]] = {}
    screen: bool = False
    seeds: Seeds = (0,)
    injections: dict[str, Injection] = {}
    arms: tuple[Arm, ...] = Field(min_length=1)
    contrasts: tuple[Contrast, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _of_one_benchmark(cls, given: Any) -> Any:
        """Demonstrations that do not say of which benchmark they are, and how it is seen, are as the protocol says."""
        return with_played(given)

    @field_validator("injections")
    @classmethod
    def _chained(cls, injections: dict[str, Injection], given: ValidationInfo) -> dict[str, Injection]:
        return spelt_out(given.data["base"], injections) if "base" in given.data else injections

    @field_validator("arms")
    @classmethod
    def _begun(cls, arms: tuple[Arm, ...], given: ValidationInfo) -> tuple[Arm, ...]:
        if not {"base", "injections"} <= set(given.data):
            return arms  # what is wrong with these is told instead
        return tuple(begun(arm, given.data["base"], given.data["injections"], repr(arm.name)) for arm in arms)

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"two arms have the same name: {sorted(n for n in set(names) if names.count(n) > 1)}")
        for contrast in self.contrasts:
            for side in (contrast.a, contrast.b):
                if side not in names:
                    raise ValueError(f"contrast {contrast.name!r}: {unknown('arm', side, names)}")
            if contrast.a == contrast.b:
                raise ValueError(f"contrast {contrast.name!r} compares the arm {contrast.a!r} with itself")
        budgets = {f"arm {arm.name!r}: ": self.changed_budget(arm) for arm in self.arms}
        for owner, budget in {"": self.budget, **budgets}.items():
            if self.protocol.n_action_steps > budget.chunk:
                raise ValueError(
                    f"{owner}protocol.n_action_steps is {self.protocol.n_action_steps}, more than the {budget.chunk} "
                    "actions that are predicted at once (budget.chunk)"
                )
        check_seconds(self.step_seconds, self.matched, {arm.name: arm for arm in self.arms})
        self._distinct()
        self._disjoint()
        for arm in self.arms:
            check_arm(arm, self.protocol, self.base)
        if self.screen:
            check_screen(self.protocol, [*self.seeds, *(seed for arm in self.arms for seed in arm.seeds or ())])
        return self

    def budget_of(self, arm: Arm) -> Budget:
        """What the arm is trained with."""
        budget = self.changed_budget(arm)
        if self.matched == "steps" or "steps" in arm.budget or arm.reference:
            return budget
        if self.matched == "seconds":
            timed = arm.name if self.own_pace(arm) else BASE
            base, own = (seconds_of(self.step_seconds, name) for name in (BASE, timed))
        else:
            base, own = (
                step_flops(spec.model_dump_json(), budget.chunk, budget.batch, actions_of(self.data))
                for spec in (self.base, self.model_of(arm))
            )
        return budget.model_copy(update={"steps": max(1, round(budget.steps * base / own))})

    def own_pace(self, arm: Arm) -> bool:
        """Whether the arm's steps are to be timed: their number is not its own, and they are not the base's."""
        if "steps" in arm.budget or arm.reference:
            return False
        return not like(self.model_of(arm), self.changed_budget(arm), self.base, self.budget)

    def model_of(self, arm: Arm) -> Spec:
        """The arm's model, as large as that of the arm that it names where it names one."""
        spec, actions = spec_of(arm, self.base, f"arm {arm.name!r}"), actions_of(self.data)
        if arm.parameters_of is None:
            return spec
        other = next(one for one in self.arms if one.name == arm.parameters_of)
        wanted = trained(self.model_of(other), chunk=self.changed_budget(other).chunk, actions=actions)
        return as_large(spec, wanted, chunk=self.changed_budget(arm).chunk, actions=actions)

    def sibling(
        self, *, arms: tuple[Arm, ...], injections: Mapping[str, Injection] | None = None, **own: Any
    ) -> "Study":
        """A study of other arms under the same conditions: base, data, budget, protocol, compute and what is matched.

        Of this study's injections and the given ones it has those that its arms need, of its seconds those of its arms.
        """
        shared = {name: getattr(self, name) for name in ("base", "data", "budget", "protocol", "compute", "matched")}
        offered = {**self.injections, **(injections or {})}
        names = {BASE, *(arm.name for arm in arms)}
        shared["step_seconds"] = {name: value for name, value in self.step_seconds.items() if name in names}
        study = Study(**shared, arms=arms, injections=offered, **own)  # spells out what starts after another
        needed = reached(study.base, study.arms, study.injections)
        return study.model_copy(update={"injections": needed})

    def changed_budget(self, arm: Arm) -> Budget:
        """The study's budget with the arm's changes. Raises ValueError that names the arm."""
        try:
            return Budget.model_validate({**self.budget.model_dump(), **arm.budget})
        except ValidationError as error:
            raise ValueError(f"arm {arm.name!r}: budget.{first_error(error, Budget)}") from error

    @property
    def selection(self) -> Protocol:
        """What learning rates and arms are chosen on: as many episodes as are reported, and none of them."""
        return self.protocol.model_copy(update={"split": "selection"})

    def _distinct(self) -> None:
        """Two arms that are the same model would be compared with themselves."""
        in_order(self.base, self.injections)
        seen: dict[str, str] = {}
        for arm in self.arms:
            spec = spec_of(arm, self.base, f"arm {arm.name!r}")
            check_sources(spec, self.base, self.injections, f"arm {arm.name!r}")
            if arm.parameters_of is not None:
                check_parameters(arm, spec, {one.name: one for one in self.arms})
            told = arm.model_dump_json(include={"reference", "inputs", "retrained", "learning_rates", "parameters_of"})
            key = resolved(self, spec).model_dump_json() + self.changed_budget(arm).model_dump_json() + told
            if key in seen:
                raise ValueError(f"the arms {seen[key]!r} and {arm.name!r} are the same model: an edit changes nothing")
            seen[key] = arm.name

    def _disjoint(self) -> None:
        """Injection, finetuning and evaluation must not share an initial state."""
        splits = {"evaluation": self.protocol.split}
        if self.screen or any(arm.learning_rates for arm in self.arms):
            splits["the choice of arms" if self.screen else "the choice of a learning rate"] = self.selection.split
        injected = {f"injections.{name}.data": injection.data for name, injection in self.injections.items()}
        for name, data in {"data": self.data, **injected}.items():
            if isinstance(data, Expert):
                check_data(name, data, self.protocol)
                splits[name] = data.split
        for name, split in splits.items():
            twins = [other for other, used in splits.items() if used == split and other != name]
            if twins and not all(t.startswith("injections.") for t in [name, *twins]):
                raise ValueError(f"{name} and {twins[0]} both use the {split!r} episodes; their splits must differ")
