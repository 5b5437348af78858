"""What `workbench pace` says: seconds of a training step, arm by arm, and what to write into the study."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from rich.table import Table

from ablations.pace import BASE, paces, trainings
from ablations.screens.study import collect_missing, uncollected
from ablations.study import Study
from ablations.study_file import read_study
from workbench.engines.means import Means
from workbench.engines.registry import engine
from workbench.plan import Finetune
from workbench.screens.console import console, stage, told_aside
from workbench.stopping import stopped_in_a_sentence
from workbench.training.timed import step_seconds


def show_pace(
    name: str,
    root: Path,
    changes: Sequence[str],
    *,
    steps: int,
    rounds: int,
    format: Literal["terminal", "json"],
) -> None:
    """Train the base and each arm for a few steps, in turn, and print what a step takes. No run is recorded."""
    study = read_study(name, changes)
    with told_aside(format == "json"), stopped_in_a_sentence():
        seconds = _measured(study, root, steps, rounds)
    lines = as_toml(seconds)
    if format == "json":
        print(json.dumps({"study": study.name, "step_seconds": seconds, "toml": lines}, indent=1))
        return
    _print(study, seconds)
    console.print("For trainings that take equally long, write into the study, before its tables:", markup=False)
    print(lines)


def _measured(study: Study, root: Path, steps: int, rounds: int) -> dict[str, float]:
    plans, done = trainings(study, steps), 0
    collect_missing(uncollected(plans.values(), root), root, engine(Means("local", 1)))
    torch.set_num_threads(1)  # as a worker has
    total = len({plan.model_dump_json() for plan in plans.values()}) * (rounds + 1)
    purpose = f"train {steps} steps of each arm in turn, {rounds} times and once before that does not count"
    with stage("Pace", purpose) as progress:

        def measure(plan: Finetune) -> list[float]:
            nonlocal done
            taken, done = step_seconds(plan, root), done + 1
            progress(done, total, "")
            return taken

        return {name: float(f"{value:.4g}") for name, value in paces(plans, rounds, measure).items()}


def as_toml(seconds: Mapping[str, float]) -> str:
    """What makes a study's trainings take equally long."""
    each = ", ".join(f"{name} = {value:g}" for name, value in seconds.items())
    return f'matched = "seconds"\nstep_seconds = {{ {each} }}'


def _print(study: Study, seconds: Mapping[str, float]) -> None:
    table = Table(title=f"{study.name}: seconds of a training step on this machine")
    for column in ("arm", "ms a step", "of the base's", "steps in its time"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    matched = study.model_copy(update={"matched": "seconds", "step_seconds": dict(seconds)})
    steps = {arm.name: matched.budget_of(arm).steps for arm in study.arms} | {BASE: study.budget.steps}
    for name, value in seconds.items():
        table.add_row(name, f"{1e3 * value:,.1f}", f"{value / seconds[BASE]:.3f}", f"{steps[name]:,}")
    console.print(table)
