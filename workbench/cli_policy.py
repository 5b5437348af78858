"""The commands around one policy: its demonstrations, its folder, its play. Heavy imports live inside them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from workbench.options import Format, Root

app = typer.Typer()


@app.command()
def collect(
    output: Annotated[Path, typer.Argument(help="Folder of the new dataset.")],
    benchmark: Annotated[str, typer.Option(help="Whose expert; a wrong name lists the choices.")] = "tabletop-v1",
    task: Annotated[list[str], typer.Option(help="Task; repeat for several. Default: all of them.")] = [],  # noqa: B006
    camera: Annotated[str | None, typer.Option(help="Default: the benchmark's first.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes for each task.")] = 200,
    split: Annotated[
        Literal["injection", "finetune", "selection", "evaluation"], typer.Option(help="Whose initial states.")
    ] = "finetune",
    noise: Annotated[
        float, typer.Option(min=0.0, help="Disturbance of the executed action (1 = the largest action).")
    ] = 0.3,
) -> None:
    """Write demonstrations of a benchmark's scripted expert as a LeRobot v3 dataset.

    Example: workbench collect data/lift --task lift --episodes 100
    """
    from workbench.screens.console import collect_dataset

    asked = {"benchmark": benchmark, "tasks": tuple(task) or None, "camera": camera}
    given = {name: value for name, value in asked.items() if value is not None}
    collect_dataset(output, {**given, "episodes": episodes, "split": split, "noise": noise})


@app.command()
def save(
    run: Annotated[str, typer.Argument(help="The id of a finished run.")],
    folder: Annotated[Path, typer.Argument(help="The new policy folder.")],
    root: Root = Path("runs"),
) -> None:
    """Write the policy of RUN as a folder that stands alone: weights, statistics, processor, ledger, model card.

    Example: workbench save 3f2a91c0b7de my-policy
    """
    from workbench.screens.policy import save_run

    save_run(run, folder, root)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="A policy folder that `workbench save` wrote.")],
    task: Annotated[list[str], typer.Option(help="Task family; repeat for several. Default: the policy's own.")] = [],  # noqa: B006
    episodes: Annotated[int | None, typer.Option(min=1, help="Episodes for each task. Default: the policy's.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder where episodes are kept; started again, only missing ones are played.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes, one thread each. Default: none, this process plays.")
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")] = "auto",
    format: Format = "terminal",
) -> None:
    """Play the policy in FOLDER and print the success of each task with its interval, and episodes an hour.

    Example: workbench evaluate my-policy --task reach --episodes 100 --output results --workers 2
    """
    from workbench.screens.policy import Asked, evaluate_policy

    evaluate_policy(folder, Asked(tuple(task), episodes, device, workers), output, format)


@app.command()
def serve(
    policy: Annotated[str, typer.Argument(help="A policy folder, or the id of a finished run.")],
    root: Root = Path("runs"),
    host: Annotated[str, typer.Option(help="Where to listen; another machine needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    image_key: Annotated[str | None, typer.Option(help="Where an observation has its picture.")] = None,
    prompt_key: Annotated[str | None, typer.Option(help="Where it has its instruction.")] = None,
    state_key: Annotated[str | None, typer.Option(help="Where it has the robot's state, if it is read.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")] = "auto",
    token: Annotated[str | None, typer.Option(envvar="WORKBENCH_TOKEN", help="What a client must show.")] = None,
) -> None:
    """Let others' simulators play POLICY: answers the websocket clients of openpi and of vla-eval.

    Example: workbench serve my-policy --port 8000
    """
    from workbench.screens.serve import Door, serve_policy

    serve_policy(policy, root, device, Door(host, port, token, image_key, prompt_key, state_key))
