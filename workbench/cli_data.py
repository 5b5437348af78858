"""The commands under `workbench data`: parse, call one function, print. Heavy imports live inside them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from workbench.options import Format

app = typer.Typer(
    no_args_is_help=True,
    help="""Demonstrations on disk: what is in them, what is wrong with them, converted, split.

    Example: workbench data inspect data/lift
    """,
)

Source = Annotated[Path, typer.Argument(metavar="PATH", help="The data set: a folder or file of a known format.")]
Target = Annotated[Path, typer.Argument(metavar="DST", help="The new folder.")]
Camera = Annotated[str | None, typer.Option(help="Whose pictures. Default: the only one, or the format's main one.")]
Described = Annotated[
    str | None, typer.Option(help="What its numbers mean: the name of a description, or a TOML file.")
]
Video = Annotated[bool, typer.Option("--video", help="Pictures as a video: smaller, and not exactly the same.")]
Rate = Annotated[int | None, typer.Option(min=1, help="Pictures a second, where the data do not say it.")]


@app.command()
def inspect(
    path: Source,
    camera: Camera = None,
    sheet: Annotated[Path | None, typer.Option(help="A PNG of the first pictures of up to 24 episodes.")] = None,
    format: Format = "terminal",
) -> None:
    """Print what is in PATH: episodes, lengths, cameras, tasks, every dimension's values, problems found.

    Example: workbench data inspect data/lift --sheet lift.png
    """
    from workbench.screens.data import inspect_data

    inspect_data(path, camera, sheet, format)


@app.command()
def stats(
    path: Source,
    camera: Camera = None,
    clip: Annotated[
        float | None, typer.Option(help="Clip scaled values here before the round trip, as VLM4VLA does at 0.65.")
    ] = None,
    format: Format = "terminal",
) -> None:
    """Compute the statistics of PATH, compare them with the stored ones, and tell each scaling's round-trip error.

    Example: workbench data stats data/lift
    """
    from workbench.screens.data import show_statistics

    show_statistics(path, camera, clip, format)


@app.command()
def check(
    path: Source,
    camera: Camera = None,
    description: Described = None,
    pictures: Annotated[int, typer.Option(min=0, help="Episodes whose pictures are looked at.")] = 8,
    allow: Annotated[list[str], typer.Option(help="A kind of problem that does not count; repeat for several.")] = [],  # noqa: B006
    format: Format = "terminal",
) -> None:
    """Look for what is wrong with PATH, and exit with 1 where something is.

    Example: workbench data check data/lift --description tabletop
    """
    from workbench.screens.data import Look, check_data

    sound = check_data(path, camera, Look(description, pictures, tuple(allow)), format)
    raise typer.Exit(0 if sound else 1)


@app.command()
def convert(
    path: Source,
    target: Target,
    to: Annotated[Literal["lerobot"], typer.Option(help="The new format: LeRobot v3.0.")],
    camera: Camera = None,
    description: Described = None,
    fps: Rate = None,
    video: Video = False,
    format: Format = "terminal",
) -> None:
    """Write PATH as a LeRobot data set; with a description the actions in metres, radians and +1 = closed.

    Example: workbench data convert libero_goal data/goal --to lerobot --description libero
    """
    from workbench.screens.rewrite import convert_data, described

    convert_data(path, target, camera, described(description, fps, video), format)


@app.command()
def split(
    path: Source,
    target: Target,
    share: Annotated[float, typer.Option(help="Of all episodes for training, and of every task's.")] = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    camera: Camera = None,
    fps: Rate = None,
    video: Video = False,
    format: Format = "terminal",
) -> None:
    """Write the episodes of PATH as two LeRobot data sets, DST/training and DST/held-out, each task in both.

    Example: workbench data split data/lift data/lift-split --share 0.9 --seed 0
    """
    from workbench.screens.rewrite import Share, described, split_data

    split_data(path, target, camera, Share(share, seed), described(None, fps, video), format=format)
