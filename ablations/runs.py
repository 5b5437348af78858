"""The runs that a study means: of each arm for each seed, and of the injections that they start from."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablations.arms import Arm
from ablations.stages import INJECTION, in_order, sources, spec_of
from workbench.fingerprint import contents_of, pinned
from workbench.plan import Evaluate, Finetune, Inject, Inputs, Plan, Replay, run_id
from workbench.spec import SLOTS, Spec

if TYPE_CHECKING:
    from ablations.study import Study

TRAINING = " (training)"


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


def wanted(study: "Study", without: Collection[str] = ()) -> list[Wanted]:
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


def arm_runs(study: "Study", arm: Arm) -> Iterator[Wanted]:
    """The runs of one arm, for each learning rate that it tries and each seed."""
    if arm.reference:
        replay = Replay(protocol=study.protocol)
        yield Wanted(run_id(replay), arm.name, 0, replay)
        return
    spec, budget = pinned(resolved(study, study.model_of(arm))), study.budget_of(arm)
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


def injection_plan(study: "Study", name: str) -> Inject:
    chosen = study.injections[name]
    return Inject(
        objective=chosen.objective,
        spec=pinned(resolved(study, spec_of(chosen, study.base, name))),
        data=chosen.data,
        augmentation=chosen.augmentation,
        budget=chosen.budget,
        compute=study.compute,
        seed=chosen.seed,
        contents=contents_of(chosen.objective),
    )


def resolved(study: "Study", spec: Spec) -> Spec:
    """`injection:<name>` becomes the id of the run that the study declares under that name."""
    runs = {INJECTION + name: f"run:{run_id(injection_plan(study, name))}" for name in sources(spec)}
    for slot in SLOTS:
        if (weights := spec.slot(slot).weights) in runs:
            spec = spec.with_slot(slot, spec.slot(slot).model_copy(update={"weights": runs[weights]}))
    return spec
