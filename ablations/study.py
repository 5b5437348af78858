"""A study: one TOML file that says what is asked, of which model, with which arms; and the runs that this means."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from ablations.arms import Arm, Contrast, Injection, Seeds
from ablations.halving.rungs import check_screen
from ablations.matched import as_large, check_parameters, step_flops, trained
from ablations.pace import BASE, check_seconds, like, seconds_of
from ablations.parse import first_error
from ablations.played import check_arm, check_data, with_played
from ablations.stages import INJECTION, begun, check_sources, in_order, reached, sources, spec_of, spelt_out
from workbench.benchmarks.contract import Protocol
from workbench.errors import unknown
from workbench.fingerprint import contents_of, pinned
from workbench.plan import (
    Budget,
    Compute,
    Data,
    Evaluate,
    Expert,
    Finetune,
    Inject,
    Inputs,
    Plan,
    Replay,
    actions_of,
    run_id,
)
from workbench.spec import SLOTS, Name, Spec, Value


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
            key = _resolved(self, spec).model_dump_json() + self.changed_budget(arm).model_dump_json() + told
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


@dataclass(frozen=True)
class Wanted:
    """One run that a study wants: `arm` is the arm's name, or `injection:<name>`.

    `rate` is the learning rate that is tried, where the arm has several; `chooses` marks its play on the selection
    episodes, which are for choosing and never reported. `rung` is the share of the arm's steps ("a quarter") that a
    rung of successive halving makes.
    """

    id: str
    arm: str
    seed: int
    plan: Plan
    rate: float | None = None
    chooses: bool = False
    rung: str = ""


def injection_plan(study: Study, name: str) -> Inject:
    chosen = study.injections[name]
    return Inject(
        objective=chosen.objective,
        spec=pinned(_resolved(study, spec_of(chosen, study.base, name))),
        data=chosen.data,
        augmentation=chosen.augmentation,
        budget=chosen.budget,
        compute=study.compute,
        seed=chosen.seed,
        contents=contents_of(chosen.objective),
    )


def _resolved(study: Study, spec: Spec) -> Spec:
    """`injection:<name>` becomes the id of the run that the study declares under that name."""
    runs = {INJECTION + name: f"run:{run_id(injection_plan(study, name))}" for name in sources(spec)}
    for slot in SLOTS:
        if (weights := spec.slot(slot).weights) in runs:
            spec = spec.with_slot(slot, spec.slot(slot).model_copy(update={"weights": runs[weights]}))
    return spec


def wanted(study: Study, without: Collection[str] = ()) -> list[Wanted]:
    """Every run of the study, each once: injections in the order of their chains, trainings, then plays of policies.

    Arms `without` have none. Where no arm is the trained model that an evaluation plays, its training is listed as
    `<arm> (training)`.
    """
    runs: list[Wanted] = []
    for name in in_order(study.base, study.injections):
        plan = injection_plan(study, name)
        runs.append(Wanted(run_id(plan), INJECTION + name, plan.seed, plan))
    runs += [run for arm in study.arms if arm.name not in without for run in arm_runs(study, arm)]
    order = {Inject: 0, Finetune: 1, Replay: 2, Evaluate: 2}
    once: dict[str, Wanted] = {}
    for run in sorted(runs, key=lambda run: (order[type(run.plan)], run.arm.endswith(TRAINING))):
        once.setdefault(run.id, run)
    return list(once.values())


TRAINING = " (training)"


def arm_runs(study: Study, arm: Arm) -> Iterator[Wanted]:
    """The runs of one arm, for each learning rate that it tries and each seed."""
    if arm.reference:
        replay = Replay(protocol=study.protocol)
        yield Wanted(run_id(replay), arm.name, 0, replay)
        return
    spec, budget = pinned(_resolved(study, study.model_of(arm))), study.budget_of(arm)
    shared = {"spec": spec, "data": study.data, "protocol": study.protocol, "compute": study.compute}
    given = arm.inputs if arm.retrained else Inputs()
    for rate in arm.learning_rates or (None,):
        budget = budget if rate is None else budget.model_copy(update={"learning_rate": rate})
        for seed in arm.seeds or study.seeds:
            plan = Finetune(**shared, budget=budget, inputs=given, seed=seed)
            trained = run_id(plan)
            if given == arm.inputs:
                yield Wanted(trained, arm.name, seed, plan, rate)
            else:
                yield Wanted(trained, arm.name + TRAINING, seed, plan, rate)
                again = Evaluate(of=trained, protocol=study.protocol, inputs=arm.inputs)
                yield Wanted(run_id(again), arm.name, seed, again, rate)
            if rate is not None:
                choice = Evaluate(of=trained, protocol=study.selection, inputs=arm.inputs)
                yield Wanted(run_id(choice), arm.name, seed, choice, rate, chooses=True)
