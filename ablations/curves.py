"""Learning curves as values: the loss of each training run in its log, averaged over windows of steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.runs import Wanted, wanted
from ablations.study import Study
from workbench.errors import UserError
from workbench.plan import Finetune, Inject
from workbench.record import LOG, Record, find

POINTS = 60
"""Of a curve: enough to see its shape, few enough for a page that holds every run."""


@dataclass(frozen=True)
class Curve:
    """The training loss of one run of `total` steps: each point is the mean over `window` steps, at their middle."""

    arm: str
    seed: int
    run: str
    total: int
    window: int
    steps: tuple[float, ...]
    losses: tuple[float, ...]


def curves(study: Study, root: Path) -> tuple[Curve, ...]:
    """A curve for every recorded run of `study` that was trained: its arms in their order, then what they share."""
    names = [arm.name for arm in study.arms]
    found = []
    for run in sorted(wanted(study), key=lambda run: names.index(run.arm) if run.arm in names else len(names)):
        record = find(root, run.plan)
        if record is not None and isinstance(record.plan, Finetune | Inject):
            steps, losses = _logged(record)
            if steps:
                found.append(smoothed(label(run), run.seed, run.id, steps=steps, losses=losses))
    return tuple(found)


def label(run: Wanted) -> str:
    """The arm, and the learning rate where the arm tries several: runs with the same label differ in their seed."""
    return run.arm if run.rate is None else f"{run.arm}, learning rate {run.rate:g}"


def smoothed(arm: str, seed: int, run: str, *, steps: Sequence[int], losses: Sequence[float]) -> Curve:
    """At most `POINTS` points; one point a step where there are no more steps than that."""
    window = math.ceil(len(steps) / POINTS)
    starts = range(0, len(steps), window)
    return Curve(
        arm=arm,
        seed=seed,
        run=run,
        total=steps[-1] + 1,
        window=window,
        steps=tuple(_mean(steps[at : at + window]) for at in starts),
        losses=tuple(_mean(losses[at : at + window]) for at in starts),
    )


def _logged(record: Record) -> tuple[list[int], list[float]]:
    """Steps and their finite losses. A run that stopped before its first step has no log, and so no curve."""
    try:
        rows = [(row["train/step"], row["train/loss"]) for row in record.log()]
    except (ValueError, KeyError) as error:
        path = record.folder / LOG
        raise UserError(f"{path} is not a training log ({error}). Delete {record.folder} and run again.") from error
    kept = [(step, loss) for step, loss in rows if math.isfinite(loss)]
    return [step for step, _ in kept], [loss for _, loss in kept]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
