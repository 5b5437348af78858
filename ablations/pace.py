"""What an optimiser step of each arm takes by the clock, for studies whose trainings are to take as long as each other.

Seconds are measured once and written into the study: runs that were planned by a clock, read again each time, would be
other runs each time.
"""

from collections.abc import Callable, Mapping
from statistics import median
from typing import TYPE_CHECKING

from ablations.arms import Arm
from workbench.errors import UserError, unknown
from workbench.plan import Budget, Finetune
from workbench.spec import Spec, with_random_weights

if TYPE_CHECKING:
    from ablations.study import Study

BASE = "base"
"""The name of the base's seconds, which are also those of every arm whose steps are like the base's."""


def like(spec: Spec, budget: Budget, base: Spec, usual: Budget) -> bool:
    """Whether a step of that model under `budget` is one of `base` under `usual`, but for the numbers in it."""
    form = (budget.batch, budget.chunk) == (usual.batch, usual.chunk)
    return form and with_random_weights(spec) == with_random_weights(base)


def seconds_of(step_seconds: Mapping[str, float], name: str) -> float:
    """Raises UserError where they were not measured."""
    if name not in step_seconds:
        raise UserError(
            f"matched is 'seconds', but step_seconds has no {name!r}. Measure with `workbench pace STUDY`, which "
            "prints what to write into the study; or compare at equal steps: --set matched=steps."
        )
    return step_seconds[name]


def check_seconds(step_seconds: Mapping[str, float], matched: str, arms: Mapping[str, Arm]) -> None:
    """Raises ValueError where seconds are given that no arm has a use for, or that two could mean."""
    if step_seconds and matched != "seconds":
        raise ValueError(f"step_seconds is of use with matched = 'seconds' only, and matched is {matched!r}")
    if matched == "seconds" and BASE in arms and (arms[BASE].edits or arms[BASE].budget):
        raise ValueError("the arm 'base' is not the base, whose seconds have that name: give it another name")
    for name in step_seconds:
        if name != BASE and name not in arms:
            raise ValueError(f"step_seconds: {unknown('arm', name, [BASE, *arms])}")


def trainings(study: "Study", steps: int) -> dict[str, Finetune]:
    """By name, a training of `steps` steps for the base and for each arm that needs seconds of its own.

    All start from random weights: what is in them makes no step longer.
    """

    def training(arm: Arm) -> Finetune:
        return Finetune(
            spec=with_random_weights(study.model_of(arm)),
            data=study.data,
            budget=study.changed_budget(arm).model_copy(update={"steps": steps}),
            protocol=study.protocol,
            compute=study.compute,
            seed=study.seeds[0],
        )

    return {arm.name: training(arm) for arm in (Arm(name=BASE), *filter(study.own_pace, study.arms))}


def paces(
    trainings: Mapping[str, Finetune], rounds: int, measure: Callable[[Finetune], list[float]]
) -> dict[str, float]:
    """Median seconds of a step, by name: all are trained in turn, `rounds` times and once before that does not count.

    What is the same training is trained once and has the same seconds.
    """
    plans = {plan.model_dump_json(): plan for plan in trainings.values()}
    taken: dict[str, list[float]] = {key: [] for key in plans}
    for number in range(rounds + 1):
        for key in list(plans) if number % 2 else list(plans)[::-1]:
            seconds = measure(plans[key])
            taken[key] += seconds if number else []
    return {name: median(taken[plan.model_dump_json()]) for name, plan in trainings.items()}
