"""What a person sees of one ablation beside its reference: progress, the contrast, and how to keep it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ablations.arms import Arm, Injection
from ablations.beside import TRAINED, as_toml, beside, usual_seeds
from ablations.bottleneck import bottleneck
from ablations.gather import gather
from ablations.notation import effect, percent, points, probability
from ablations.screen import make_missing, show_estimate
from ablations.study import Study
from ablations.study_file import read_study
from ablations.table import ContrastRow, Table
from workbench.errors import UserError
from workbench.screen import console, told_aside

Made = Arm | tuple[Arm, Arm] | tuple[Arm, Arm, Injection]
"""An arm, which is compared with the trained base; or with its own reference; or with an injection that it needs."""


@dataclass(frozen=True)
class Asked:
    """What every command of an ablation takes."""

    study: str
    seeds: str | None
    root: Path
    workers: int | None
    dry_run: bool
    format: Literal["terminal", "json"]


def show_beside(make: Callable[[Study], Made], asked: Asked) -> None:
    """Build the arm out of the study, run what is missing of it and its reference, and print how they compare."""
    study = read_study(asked.study)
    made = make(study)
    arm, reference, *injection = made if isinstance(made, tuple) else (made, TRAINED)
    injections = {one.objective: one for one in injection if isinstance(one, Injection)}
    assert isinstance(reference, Arm)
    try:
        pair = beside(study, arm, reference, seeds=_seeds(asked.seeds) or usual_seeds(study), injections=injections)
    except ValueError as error:
        raise UserError(str(error)) from error
    if asked.dry_run:
        show_estimate(pair, asked.root, asked.format)
        return
    with told_aside(asked.format == "json"):
        console.print(pair.question, style="bold", markup=False)
        complaint = make_missing(pair, asked.root, asked.workers)
    table = bottleneck(gather(pair, asked.root))
    (row,) = table.contrasts
    if asked.format == "json":
        arms = [one.model_dump(mode="json") for one in table.arms]
        print(json.dumps({"contrast": row.model_dump(mode="json"), "arms": arms, "toml": as_toml(pair)}, indent=1))
    else:
        _print(table, row, as_toml(pair))
    if complaint:
        raise UserError(complaint)


def _seeds(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(
            f"--seeds {text!r} are no seeds: write whole numbers with commas, such as --seeds 0,1,2."
        ) from error


def _print(table: Table, row: ContrastRow, toml: str) -> None:
    for arm in table.arms:
        trials = f"{arm.seeds} seeds × {arm.episodes} episodes"
        console.print(f"{arm.name}: {percent(arm.figure)} %  ({arm.facts}; {trials})", markup=False)
    console.print(f"{row.name}: {points(row.figure)} points{_beside(row)}", style="bold", markup=False)
    if row.screening:
        console.print("* screening: fewer than 3 training seeds support no claim.")
    for note in table.notes:
        console.print(note, markup=False)
    console.print("\nTo keep it, add to a study:\n", style="dim")
    console.print(toml, markup=False, highlight=False, soft_wrap=True)


def _beside(row: ContrastRow) -> str:
    if row.p is None or row.mde is None:
        return ""
    exact = ", ".join(probability(p) for p in row.mcnemar.values())
    within = f"; McNemar within each seed: {exact}" if exact else ""
    return f", p {probability(row.p)}, smallest detectable effect {effect(row.mde)}{within}"
