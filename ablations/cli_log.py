"""The command that copies runs to a dashboard."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.options import Changes, Root, StudyName
from workbench.sinks.names import SinkName

app = typer.Typer()


@app.command("log")
def log_runs(
    study: StudyName,
    to: Annotated[SinkName, typer.Option(help="Where to.")],
    root: Root = Path("runs"),
    changes: Changes = [],  # noqa: B006
) -> None:
    """Copy what the recorded runs of STUDY wrote to a dashboard; what was copied before is left out. Runs nothing.

    Example: workbench log demo --to tensorboard
    """
    from ablations.logged import show_log

    show_log(study, root, to, changes)
