"""The commands under `workbench encoders`: parse, call one function, print. Heavy imports live inside them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from workbench.engines.means import Means
from workbench.options import Engine, Format, Root, Workers

app = typer.Typer(
    no_args_is_help=True,
    help="""Vision encoders: which there are, what one is, which does best in a study, and one that leaves.

    Example: workbench encoders compare dinov2-base siglip-base --study demo
    """,
)


@app.command("list")
def list_(format: Format = "terminal") -> None:
    """List the encoders that have a name of their own, and the forms of names beyond them.

    Example: workbench encoders list
    """
    from workbench.screens.encoder import list_encoders

    list_encoders(format)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="An encoder: a row of the list, or one of the forms.")],
    format: Format = "terminal",
) -> None:
    """Print the card of NAME: pixels, statistics, tokens, readout and who recommends it, parameters, licence.

    Example: workbench encoders show dinov2-base
    """
    from workbench.screens.encoder import show_encoder

    show_encoder(name, format)


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Encoders, each once.")],
    study: Annotated[str, typer.Option(help="Whose base, data, budget, protocol and seeds: a TOML file, or a name.")],
    root: Root = Path("runs"),
    workers: Workers = None,
    engine: Engine = "local",
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Start the named encoders from random weights: no download.")
    ] = False,
    format: Annotated[Literal["terminal", "json", "markdown"], typer.Option(help="How to print.")] = "terminal",
) -> None:
    """Train each encoder in the vision slot as STUDY trains its own, and print it against the native one.

    Example: workbench encoders compare dinov2-base siglip-base --study demo
    """
    from ablations.screens.compare import compare_encoders

    weights = "random" if random_weights else "pretrained"
    compare_encoders(names, study, root, Means(engine, workers), weights=weights, format=format)


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="The id of a finished run.")],
    folder: Annotated[Path | None, typer.Argument(help="The new folder. Default: encoder-RUN, here.")] = None,
    to: Annotated[
        Literal["timm", "hf", "open-clip", "folder"] | None,
        typer.Option(help="Who shall load it; folder: the weights and their card. Default: the encoder's own library."),
    ] = None,
    root: Root = Path("runs"),
    format: Format = "terminal",
) -> None:
    """Write the vision encoder of RUN as a folder that timm, transformers or open_clip load without the workbench.

    Example: workbench encoders export 3f2a91c0b7de --to hf my-encoder
    """
    from workbench.screens.encoder import export_encoder

    export_encoder(run, folder or Path(f"encoder-{run}"), root, to=to, format=format)
