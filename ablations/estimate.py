"""What carrying out a study would cost: parameters, operations, disk and, from what is recorded, time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ablations.runs import Wanted
from workbench.count import Cost, StepCost, step_cost, training_cost
from workbench.plan import Finetune, Inject
from workbench.recipes import actions_of
from workbench.record import find
from workbench.spec import with_random_weights
from workbench.training.flops import Work
from workbench.training.memory import Memory

OTHER_BYTES = 300_000
"""Of a run beside its weights: log, ledger, outcomes, films."""


@dataclass(frozen=True)
class Estimate:
    """One run: `flops` of its training (None where it trains nothing), `seconds` of all of it (None where unknown).

    `seconds` are those of recorded runs, by operations: this machine's speed as it was then.
    """

    run: Wanted
    recorded: bool
    trainable: int
    flops: int | None
    disk_bytes: int
    seconds: float | None


def estimates(runs: Sequence[Wanted], root: Path) -> list[Estimate]:
    """What each run costs; those that are recorded cost nothing more. Models are outlined, nothing is run."""
    costs: dict[str, Cost] = {}
    for run in runs:
        if isinstance(run.plan, Finetune | Inject):
            key = _key(run.plan)
            if key not in costs:
                costs[key] = training_cost(
                    run.plan.spec,
                    chunk=run.plan.budget.chunk,
                    batch=run.plan.budget.batch,
                    actions=actions_of(run.plan.data),
                )
    speed, playing = _speeds(runs, root, costs)
    return [_estimate(run, root, costs, speed, playing) for run in runs]


@dataclass(frozen=True)
class Effort:
    """What a whole training needs and executes, and what it holds in memory at its peak, in one process.

    `memory` is None where tensors are sharded: a process's share of them is not estimated.
    """

    work: Work
    memory: Memory | None


def efforts(runs: Sequence[Wanted]) -> list[Effort | None]:
    """What the training of each run takes; arms that differ in their weights only are counted once.

    None where nothing is trained, and for an injection, whose loss is its objective's and not known before it runs.
    """
    counted: dict[str, StepCost] = {}
    return [_effort(run.plan, counted) if isinstance(run.plan, Finetune) else None for run in runs]


def _effort(plan: Finetune, counted: dict[str, StepCost]) -> Effort:
    key = f"{_key(plan)} {plan.compute.model_dump_json()}"
    if key not in counted:
        counted[key] = step_cost(
            plan.spec,
            chunk=plan.budget.chunk,
            batch=plan.budget.batch,
            actions=actions_of(plan.data),
            compute=plan.compute,
        )
    step = counted[key]
    return Effort(step.work * plan.budget.steps, step.memory if plan.compute.sharding == "none" else None)


def _key(plan: Finetune | Inject) -> str:
    """The same for plans whose steps cost the same: weights make no difference."""
    spec = with_random_weights(plan.spec)
    return f"{spec.model_dump_json()} {plan.budget.chunk} {plan.budget.batch} {actions_of(plan.data)}"


def _flops(plan: Finetune | Inject, costs: Mapping[str, Cost]) -> int:
    return plan.budget.steps * costs[_key(plan)].step_flops


def _speeds(runs: Sequence[Wanted], root: Path, costs: Mapping[str, Cost]) -> tuple[float | None, float | None]:
    """Operations a second while training, and seconds of playing a manifest; None where nothing of it is recorded."""
    speeds, playing = list[float](), list[float]()
    for run in runs:
        record = find(root, run.plan)
        if record is None or record.error is not None:
            continue
        if isinstance(run.plan, Finetune | Inject):
            speeds.append(_flops(run.plan, costs) / record.result["training_seconds"])
        if "playing_seconds" in record.result:
            playing.append(record.result["playing_seconds"])
    return (median(speeds) if speeds else None), (median(playing) if playing else None)


def _estimate(
    run: Wanted, root: Path, costs: Mapping[str, Cost], speed: float | None, playing: float | None
) -> Estimate:
    recorded = find(root, run.plan) is not None
    if not isinstance(run.plan, Finetune | Inject):
        return Estimate(run, recorded, 0, None, OTHER_BYTES, playing)
    cost, flops = costs[_key(run.plan)], _flops(run.plan, costs)
    plays = isinstance(run.plan, Finetune)
    known = speed is not None and (playing is not None or not plays)
    seconds = flops / speed + (playing or 0.0) * plays if known and speed else None
    return Estimate(run, recorded, cost.trainable, flops, cost.weights_bytes + OTHER_BYTES, seconds)
