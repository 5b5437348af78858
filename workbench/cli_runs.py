"""Commands about finished runs: they parse, call one function, print. Heavy imports live inside them."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.options import Format, Root

app = typer.Typer()


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="The id of a finished run.")],
    root: Root = Path("runs"),
    format: Format = "terminal",
) -> None:
    """Print one run: its plan, the ledger of its slots, its result, where it comes from.

    Example: workbench show 3f2a91c0b7de
    """
    from workbench.screens.record import show_run

    show_run(run, root, format)


@app.command()
def reproduce(
    run: Annotated[str, typer.Argument(help="The id of a finished run.")],
    root: Root = Path("runs"),
    format: Format = "terminal",
) -> None:
    """Carry out a recorded run again, beside it, and compare weights, losses and episodes. Exit code 1 if they differ.

    Example: workbench reproduce 3f2a91c0b7de
    """
    from workbench.screens.record import show_reproduction

    raise typer.Exit(0 if show_reproduction(run, root, format) else 1)


@app.command()
def probe(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids of finished runs, each with weights.")],
    root: Root = Path("runs"),
    episodes: Annotated[
        int, typer.Option(min=20, help="Demonstrations of each task to probe on; of a folder, of all its tasks.")
    ] = 200,
    format: Format = "terminal",
) -> None:
    """Print what the vision encoder of each RUN has kept and gained: CKA, effective rank, linear probes, pointing.

    Example: workbench probe 3f2a91c0b7de
    """
    from workbench.screens.probe import show_probes

    show_probes(runs, root, episodes, format)
