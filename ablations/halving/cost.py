"""The most that a study with successive halving can cost: which arms go on is not known before the rungs are made."""

from collections.abc import Iterable
from pathlib import Path

from ablations.estimate import Estimate, estimates
from ablations.halving.halve import ahead, halved, runs_of
from ablations.study import Study


def dearest(study: Study, root: Path) -> list[Estimate]:
    """What each run costs: those that are decided, and behind a rung that is due those of the dearest arms.

    For a study that is not screened these are all of its runs.
    """
    halving = halved(study, root)
    known, parts = runs_of(study, halving), list(ahead(study, halving))
    later = [run for part in parts for own in part.runs.values() for run in own]
    costs = {row.run.id: row for row in estimates([*known, *later], root)}
    rows = [costs[run.id] for run in known]
    for part in parts:
        arms = sorted(([costs[run.id] for run in own] for own in part.runs.values()), key=_operations, reverse=True)
        rows += [row for own in arms[: part.most] for row in own]
    return rows


def _operations(rows: Iterable[Estimate]) -> int:
    """What is still to be trained."""
    return sum(row.flops or 0 for row in rows if not row.recorded)
