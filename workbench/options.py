"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Root = Annotated[Path, typer.Option(help="Folder of all runs, datasets and reports.")]
StudyName = Annotated[str, typer.Argument(help="A TOML file, or the name of one in configs/.")]
Changes = Annotated[
    list[str], typer.Option("--set", metavar="PATH=VALUE", help="Change a field of the study; repeat for several.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Worker processes, one thread each. Default: one a core, at most 2.")
]
