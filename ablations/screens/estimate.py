"""What a person sees of a study's cost before it is carried out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.table import Table

from ablations.estimate import Estimate
from ablations.halving.cost import dearest
from ablations.halving.halve import halved
from ablations.halving.words import called, planned
from ablations.notation import ABSENT, count, duration
from ablations.screens.study import uncollected
from ablations.study import Study
from workbench.screens.console import console


def show_estimate(study: Study, root: Path, format: Literal["terminal", "json"]) -> None:
    """Say what carrying out the study would cost, and do nothing."""
    rows, halving = dearest(study, root), halved(study, root)
    missing = [row for row in rows if not row.recorded]
    recipes = uncollected([row.run.plan for row in missing], root)
    episodes = sum(recipe.episodes * len(recipe.tasks) for recipe in recipes)
    if format == "json":
        plain = [vars(row) | {"run": row.run.id, "arm": row.run.arm, "seed": row.run.seed} for row in rows]
        told = {"study": study.name, "root": str(root), "demonstrations": episodes, "runs": plain}
        print(json.dumps(told, indent=1))
    elif not missing:
        console.print(f"{study.name}: all {len(rows)} runs are recorded in {root}, nothing is missing.", markup=False)
    else:
        console.print(_table(missing, title=f"{study.name}: {len(missing)} of {len(rows)} runs are missing in {root}"))
        console.print(_sum(missing), markup=False)
        if episodes:
            console.print(f"Not counted: {episodes:,} demonstrations, which are to be collected first.")
    if format != "json":
        dear = ("Listed behind it are the arms that would cost most.",) if halving.due else ()
        for sentence in (*planned(study, halving), *dear):
            console.print(sentence, markup=False)


def _table(missing: Sequence[Estimate], *, title: str) -> Table:
    table = Table(title=title)
    for column in ("run", "arm", "seed", "trainable", "TFLOP", "disk MB", "time"):
        table.add_column(column, justify="left" if column in ("run", "arm") else "right")
    for row in missing:
        operations = ABSENT if row.flops is None else f"{row.flops / 1e12:.3g}"
        figures = (count(row.trainable), operations, f"{row.disk_bytes / 1e6:.1f}", duration(row.seconds))
        table.add_row(row.run.id, called(row.run), str(row.run.seed), *figures)
    return table


def _sum(missing: Sequence[Estimate]) -> str:
    known = [row.seconds for row in missing if row.seconds is not None]
    disk = sum(row.disk_bytes for row in missing) / 1e6
    whole = len(known) == len(missing)
    time = f"{duration(sum(known))} of one worker" if whole else "unknown until runs like these are recorded"
    return f"All that is missing: {disk:.0f} MB of disk, time {time}. Nothing was run."
