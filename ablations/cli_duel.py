"""The command that plays two policies against each other. Heavy imports live inside it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from workbench.options import Format

app = typer.Typer()


@app.command()
def duel(
    a: Annotated[Path, typer.Argument(help="A policy folder that `workbench save` wrote.")],
    b: Annotated[Path, typer.Argument(help="The one that it is compared with.")],
    task: Annotated[list[str], typer.Option(help="Task; repeat for several. Default: the policies' own.")] = [],  # noqa: B006
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes for each task, at most. Default: the policies'.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the order in which episodes are played.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes, one thread each. Default: none, this process plays.")
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")] = "auto",
    format: Format = "terminal",
) -> None:
    """Play the policies in A and B on the same episodes, and stop as soon as it is clear which one is better.

    Example: workbench duel my-policy another-policy --episodes 200 --workers 2
    """
    from ablations.screens.duel import show_duel
    from workbench.screens.policy import Asked

    show_duel(a, b, Asked(tuple(task), episodes, device, workers), seed, format)
