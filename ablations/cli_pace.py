"""The command that times the arms of a study. Heavy imports live inside it."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.options import Changes, Format, Root, StudyName

app = typer.Typer()


@app.command()
def pace(
    study: StudyName,
    root: Root = Path("runs"),
    changes: Changes = [],  # noqa: B006
    steps: Annotated[int, typer.Option(min=3, help="Optimiser steps of each training.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is trained, in turn.")] = 3,
    format: Format = "terminal",
) -> None:
    """Time a training step of each arm of STUDY here, for trainings that take equally long. Records no run.

    Example: workbench pace demo --steps 30
    """
    from ablations.screens.pace import show_pace

    show_pace(study, root, changes, steps=steps, rounds=rounds, format=format)
