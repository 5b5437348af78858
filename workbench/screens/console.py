"""What a person sees while one thing is made: progress with time left, then where it lies."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from workbench.errors import UserError
from workbench.recipes import Expert
from workbench.record import moved_bits

console = Console()


class Tell(Protocol):
    """Takes what is done, what there is to do, and optionally a few words."""

    def __call__(self, done: float, total: float, words: str = "") -> None: ...


@contextmanager
def told_aside(aside: bool) -> Iterator[None]:
    """Progress goes to standard error where standard output is for one answer."""
    console.stderr = aside
    try:
        yield
    finally:
        console.stderr = False


@contextmanager
def stage(title: str, purpose: str) -> Iterator[Tell]:
    """A titled progress bar with time left, under a line that says what the stage is for."""
    console.print(f"[bold]{title}[/bold]  [dim]{purpose}[/dim]")
    columns = (TextColumn("  "), BarColumn(30), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("·"))
    left = (TimeRemainingColumn(), TextColumn("left {task.fields[words]}"))
    with Progress(*columns, *left, console=console) as progress:
        task = progress.add_task(title, total=None, words="")

        def tell(done: float, total: float, words: str = "") -> None:
            progress.update(task, completed=done, total=total, words=words)

        yield tell


def collect_dataset(output: Path, asked: dict[str, Any]) -> None:
    """Play the expert of the recipe that `asked` makes."""
    from workbench.collect import collect
    from workbench.data.lerobot import open_dataset

    try:
        recipe = Expert.model_validate(asked)
    except ValidationError as error:
        raise UserError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    if output.exists():
        raise UserError(f"{output} exists already: choose another folder, or delete it first.")
    with stage("Demonstrations", "the scripted expert plays; every frame is rendered") as progress:
        collect(recipe, output, progress=progress)
    dataset = open_dataset(output)
    frames = sum(episode.length for episode in dataset.episodes)
    console.print(f"{len(dataset.episodes)} episodes, {frames} frames, digest {dataset.digest[:16]}: {output}")


def pretrain_backbone(output: Path, scenes: int | None, steps: int | None, seed: int) -> None:
    from workbench.pretraining.recipe import Recipe, pretrain

    if output.exists():
        raise UserError(f"{output} exists already: choose another folder, or delete it first.")
    changed: dict[str, Any] = {"seed": seed}
    changed |= {"scenes": scenes} if scenes else {}
    changed |= {"vision_steps": steps, "language_steps": steps, "joint_steps": steps} if steps else {}
    for (title, purpose), steps_made in groupby(pretrain(Recipe(**changed), output), key=lambda made: made[:2]):
        with stage(title, purpose) as progress:
            for _, _, done, total in steps_made:
                progress(done, total)
    scores = json.loads((output / "recipe.json").read_text())["scores"]
    console.print("  ".join(f"{name} {value:.3g}" for name, value in scores.items()))
    console.print(f'The backbone lies in {output}; a study uses it as: backbone = "{output.resolve()}"')


def inspect_backbone(name: str, vision: str | None, config_only: bool, format: Literal["terminal", "json"]) -> None:
    from workbench.anatomy import anatomy
    from workbench.backbones.registry import prompt_of
    from workbench.screens.anatomy import anatomy_tree

    seen = anatomy(name, vision=vision)
    prompt = None if config_only else prompt_of(name)
    if format == "json":
        print(json.dumps(seen.as_json() | {"prompt": prompt}, indent=1))
        return
    console.print(anatomy_tree(seen))
    if prompt is not None:
        console.print("prompt, the image standing at its placeholder:", style="bold")
        console.print(prompt, markup=False, highlight=False)


def ledger_table(ledger: dict[str, Any]) -> Table:
    """One row a slot: what was asked, what happened."""
    table = Table(title=f"Ledger · {ledger['new_parameters']:,} of {ledger['total_parameters']:,} parameters are new")
    for name in ("slot", "filled with", "tune"):
        table.add_column(name, overflow="fold")
    for name in ("trainable", "of", "bits"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in ledger["rows"]:
        figures = (f"{row['trainable']:,}", f"{row['parameters']:,}", moved_bits(row))
        table.add_row(row["slot"], f"{row['module']}, {row['weights']}", row["tune"], *figures)
    return table
