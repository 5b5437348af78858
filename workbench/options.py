"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from workbench.engines.means import EngineName
from workbench.sinks.names import SinkName

Root = Annotated[Path, typer.Option(help="Folder of all runs, datasets and reports.")]
StudyName = Annotated[str, typer.Argument(help="A TOML file, or the name of one in configs/.")]
Changes = Annotated[
    list[str], typer.Option("--set", metavar="PATH=VALUE", help="Change a field of the study; repeat for several.")
]
Screen = Annotated[
    bool, typer.Option("--screen", help="Halve the arms that compete on short runs first: --set screen=true.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Worker processes, one thread each. Default: one a core, at most 2.")
]
Engine = Annotated[EngineName, typer.Option(help="Who carries out the runs: this machine, or a cluster.")]
Format = Annotated[
    Literal["terminal", "json"], typer.Option(help="How to print; with json, progress goes to standard error.")
]
Published = Annotated[bool, typer.Option("--published", help="Set the papers' figures beside ours.")]
Log = Annotated[
    SinkName | None,
    typer.Option(help="Copy what runs wrote to this too; packages: vla-workbench[wandb], [trackio], [tensorboard]."),
]


def with_screen(changes: list[str], screen: bool) -> list[str]:
    """`--screen` is the field of the study by that name."""
    return [*changes, "screen=true"] if screen else changes
