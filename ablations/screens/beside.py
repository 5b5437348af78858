"""What a person sees of one ablation beside its reference: progress, the contrast, and how to keep it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ablations.arms import Arm, Injection
from ablations.beside import TRAINED, as_toml, beside, usual_seeds
from ablations.bottleneck import bottleneck
from ablations.gather import gather
from ablations.notation import effect, percent, plural, points, probability
from ablations.parse import first_error
from ablations.screens.estimate import show_estimate
from ablations.screens.study import make_missing
from ablations.study import Study
from ablations.study_file import read_study
from ablations.table import ContrastRow, Table
from workbench.engines.means import Means
from workbench.errors import UserError
from workbench.screens.console import console, told_aside

Made = Arm | tuple[Arm, Arm] | tuple[Arm, Arm, dict[str, Injection]]
"""An arm, which is compared with the trained base; or with its own reference; or with an injection that it needs."""


@dataclass(frozen=True)
class Asked:
    """What every command of an ablation takes."""

    study: str
    seeds: str | None
    root: Path
    means: Means
    dry_run: bool
    format: Literal["terminal", "json"]
    changes: tuple[str, ...] = ()
    """Made to the study first, as `--set` makes them."""


def show_beside(make: Callable[[Study], Made], asked: Asked) -> None:
    """Build the arm out of the study, run what is missing of it and its reference, and print how they compare."""
    study = read_study(asked.study, asked.changes)
    pair = planned(asked, study, lambda seeds: _pair(study, make(study), seeds))
    if pair is None:
        return
    complaint = carried_out(asked, pair)
    table = bottleneck(gather(pair, asked.root))
    (row,), toml = table.contrasts, as_toml(pair, study)
    if asked.format == "json":
        arms = [one.model_dump(mode="json") for one in table.arms]
        print(json.dumps({"contrast": row.model_dump(mode="json"), "arms": arms, "toml": toml}, indent=1))
    else:
        _print(table, row)
        _print_toml(toml, asked.study)
    if complaint:
        raise UserError(complaint)


def planned(asked: Asked, study: Study, make: Callable[[tuple[int, ...]], Study]) -> Study | None:
    """What `make` builds of the asked seeds, or the usual ones of `study`; after a dry run, which tells its cost, None.

    Raises UserError where there can be no such study.
    """
    try:
        made = make(read_seeds(asked.seeds) or usual_seeds(study))
    except ValidationError as error:
        raise UserError(first_error(error, Study)) from error
    if asked.dry_run:
        show_estimate(made, asked.root, asked.format)
        return None
    return made


def carried_out(asked: Asked, study: Study) -> str:
    """Print the study's question and run what is missing of it. Returns what to complain of after all else, or ""."""
    with told_aside(asked.format == "json"):
        console.print(study.question, style="bold", markup=False)
        return make_missing(study, asked.root, asked.means)


def _pair(study: Study, made: Made, seeds: tuple[int, ...]) -> Study:
    match made:
        case Arm():
            return beside(study, made, TRAINED, seeds=seeds)
        case (arm, reference):
            return beside(study, arm, reference, seeds=seeds)
        case (arm, reference, injections):
            return beside(study, arm, reference, seeds=seeds, injections=injections)


def read_seeds(text: str | None) -> tuple[int, ...]:
    """Seeds with commas between; none where nothing is said. Raises UserError for what are no seeds."""
    if text is None:
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(
            f"--seeds {text!r} are no seeds: write whole numbers with commas, such as --seeds 0,1,2."
        ) from error


def _print(table: Table, row: ContrastRow) -> None:
    for arm in table.arms:
        trials = f"{plural(arm.seeds, 'seed')} × {plural(arm.episodes, 'episode')}"
        console.print(f"{arm.name}: {percent(arm.figure)} %  ({arm.facts}; {trials})", markup=False)
    console.print(f"{row.name}: {points(row.figure)} points{_beside(row)}", style="bold", markup=False)
    if row.screening:
        console.print("* screening: fewer than 3 training seeds support no claim.")
    for note in table.notes:
        console.print(note, markup=False)


def _print_toml(toml: str, study: str) -> None:
    if not toml:
        console.print(f"The study {study!r} declares all of it.", style="dim", markup=False)
        return
    console.print(f"\nTo keep it, add this to the study {study!r}, at its end:\n", style="dim", markup=False)
    console.print(toml, markup=False, highlight=False, soft_wrap=True)


def _beside(row: ContrastRow) -> str:
    if row.p is None or row.mde is None:
        return ""
    exact = ", ".join(probability(p) for p in row.mcnemar.values())
    within = f"; McNemar within each seed: {exact}" if exact else ""
    return f", p {probability(row.p)}, smallest detectable effect {effect(row.mde)}{within}"
