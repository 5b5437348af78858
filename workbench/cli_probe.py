"""The command `workbench probe`: parses, calls one function. Heavy imports live inside it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from workbench.options import Root

app = typer.Typer()


@app.command()
def probe(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids of finished runs, each with weights.")],
    root: Root = Path("runs"),
    episodes: Annotated[
        int, typer.Option(min=20, help="Demonstrations of each task to probe on; of a folder, of all its tasks.")
    ] = 200,
    format: Annotated[Literal["terminal", "json"], typer.Option(help="How to print.")] = "terminal",
) -> None:
    """Print what the vision encoder of each RUN has kept and gained: CKA, effective rank, linear probes, pointing.

    Example: workbench probe 3f2a91c0b7de
    """
    from workbench.probe_screen import show_probes

    show_probes(runs, root, episodes, format)
