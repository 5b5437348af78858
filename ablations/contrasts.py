"""Rows of contrasts: those that the study declared, and the others, which were not asked for beforehand."""

from collections.abc import Callable, Sequence

from ablations.outcomes import ArmRecord, StudyRecord
from ablations.statistics.adjustment import benjamini_hochberg, holm
from ablations.statistics.contrast import contrast, equivalent, mcnemar
from ablations.statistics.scores import improvement
from ablations.table import ContrastRow, seen
from workbench.errors import unknown

MARGIN = 0.05
"""A difference that is shown to lie within ±5 points is called none (TOST)."""

Named = tuple[str, str, str]
Adjust = Callable[[Sequence[float]], tuple[float, ...]]


def declared(record: StudyRecord) -> tuple[ContrastRow, ...]:
    """The study's own contrasts, their p adjusted by Holm. UserError for an unknown arm."""
    return _rows(record, record.contrasts, holm)


def exploratory(record: StudyRecord, reference: ArmRecord | None) -> tuple[ContrastRow, ...]:
    """Every other played arm beside the reference, p adjusted by Benjamini and Hochberg: hints, not findings."""
    if reference is None:
        return ()
    asked = {frozenset(pair) for _, *pair in record.contrasts}
    others = [arm.name for arm in record.arms if arm.outcomes and arm.name != reference.name]
    named = [(name, reference.name, name) for name in others if frozenset((name, reference.name)) not in asked]
    return _rows(record, named, benjamini_hochberg)


def _rows(record: StudyRecord, named: Sequence[Named], adjust: Adjust) -> tuple[ContrastRow, ...]:
    arms = {arm.name: arm.outcomes for arm in record.arms}
    dropped = {arm.name for arm in record.arms if arm.dropped}
    for _, *pair in named:
        for name in pair:
            if name not in arms:
                raise unknown("arm", name, arms)
    estimates = [contrast(arms[a], arms[b]) for _, a, b in named]
    played = [index for index, estimate in enumerate(estimates) if estimate is not None]
    adjusted = dict(zip(played, adjust([e.p for e in estimates if e is not None]), strict=True))
    return tuple(
        ContrastRow(
            name=name,
            a=a,
            b=b,
            difference=estimate.value if estimate else None,
            ci95=(estimate.low, estimate.high) if estimate else None,
            p=estimate.p if estimate else None,
            p_adjusted=adjusted.get(index),
            equivalent=equivalent(estimate, MARGIN) if estimate else None,
            seeds=estimate.seeds if estimate else 0,
            mde=estimate.smallest_detectable if estimate else None,
            screening=estimate is not None and estimate.screening,
            paired=estimate is not None and estimate.paired,
            mcnemar=mcnemar(arms[a], arms[b]),
            improvement=seen(improvement(arms[a], arms[b], record.tasks), min(len(arms[a]), len(arms[b]))),
            dropped=tuple(arm for arm in (a, b) if arm in dropped),
        )
        for index, ((name, a, b), estimate) in enumerate(zip(named, estimates, strict=True))
    )
