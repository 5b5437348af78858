"""What a slot was taught by the runs that its weights come from, one stage after the other."""

from collections.abc import Callable, Sequence

from workbench.objectives.facts import facts
from workbench.plan import Finetune, Inject, Plan
from workbench.spec import Frozen, SlotName

RUN = "run:"
POLICY = "policy"  # what is taught by finetuning, and not by an objective


def stages_of(slot: SlotName, weights: str, plan_of: Callable[[str], Plan]) -> tuple[str, ...]:
    """Objectives, the first stage's first; empty for weights that no run made. A stage that kept it frozen is left out.

    `plan_of` gives the plan of a run by its id, and raises UserError where it is not known.
    """
    if not weights.startswith(RUN):
        return ()
    plan = plan_of(weights.removeprefix(RUN))
    if not isinstance(plan, Inject | Finetune):
        return ()
    spec = plan.spec.slot(slot)
    before = stages_of(slot, spec.weights, plan_of)
    if isinstance(spec.tune, Frozen):
        return before
    return (*before, plan.objective if isinstance(plan, Inject) else POLICY)


def is_control(stages: Sequence[str]) -> bool:
    """Whether a negative control is all that was taught: where one stage teaches control, a chain of them does."""
    return bool(stages) and len(idle(stages)) == len(stages)


def idle(stages: Sequence[str]) -> tuple[str, ...]:
    """Those of the stages that are negative controls."""
    return tuple(stage for stage in stages if stage != POLICY and facts(stage).control)


def in_words(stages: Sequence[str]) -> str:
    """`permuted-actions → state`."""
    return " → ".join(stages)
