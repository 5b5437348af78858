"""A command for each kind of ablation: one arm beside its reference. Heavy imports live inside them."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from workbench.engines.means import Means
from workbench.options import Changes, Engine, Format, Root, StudyName, Workers

app = typer.Typer()

Study = Annotated[str, typer.Option("--study", help="Whose base, data, budget and protocol: a TOML file, or a name.")]
Seeds = Annotated[str | None, typer.Option(help="Training seeds, such as 0,1,2. Default: the study's.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and do nothing.")]
Slot = Annotated[str, typer.Argument(help="vision, projector, embeddings, language or head.")]


@app.command()
def freeze(
    slots: Annotated[list[str], typer.Argument(metavar="SLOT...", help="Slots that are kept as they are.")],
    study: Study = "demo",
    seeds: Seeds = None,
    root: Root = Path("runs"),
    workers: Workers = None,
    engine: Engine = "local",
    dry_run: DryRun = False,
    format: Format = "terminal",
) -> None:
    """Freeze one slot or several, and print what it costs against training everything.

    Example: workbench freeze vision --seeds 0,1,2
    """
    from ablations.beside import frozen
    from ablations.screens.beside import Asked, show_beside

    show_beside(lambda _: frozen(slots), Asked(study, seeds, root, Means(engine, workers), dry_run, format))


@app.command()
def reinit(
    slot: Slot,
    shuffled: Annotated[bool, typer.Option("--shuffled", help="Its own numbers in random order.")] = False,
    frozen: Annotated[bool, typer.Option("--frozen", help="Leave it so, instead of training it.")] = False,
    study: Study = "demo",
    seeds: Seeds = None,
    root: Root = Path("runs"),
    workers: Workers = None,
    engine: Engine = "local",
    dry_run: DryRun = False,
    format: Format = "terminal",
) -> None:
    """Take one slot's pretraining away, and print what it was worth.

    Example: workbench reinit vision --frozen
    """
    from ablations.beside import restarted
    from ablations.screens.beside import Asked, show_beside

    asked = Asked(study, seeds, root, Means(engine, workers), dry_run, format)
    show_beside(lambda _: restarted(slot, shuffled=shuffled, freeze=frozen), asked)


@app.command()
def replace(
    slot: Slot,
    module: Annotated[str, typer.Argument(metavar="WITH", help="Encoder, projector, head, first-blocks:k or hf:NAME.")],
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Start it from random weights: no download.")
    ] = False,
    study: Study = "demo",
    seeds: Seeds = None,
    root: Root = Path("runs"),
    workers: Workers = None,
    engine: Engine = "local",
    dry_run: DryRun = False,
    format: Format = "terminal",
) -> None:
    """Put another module into one slot, and print the difference; with a new adapter on both sides if it needs one.

    Example: workbench replace vision tiny --random-weights
    """
    from ablations.beside import replaced
    from ablations.screens.beside import Asked, show_beside

    asked = Asked(study, seeds, root, Means(engine, workers), dry_run, format)
    show_beside(lambda _: replaced(slot, module, random_weights=random_weights), asked)


@app.command()
def lora(
    slot: Slot,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the updates.")] = 8,
    alpha: Annotated[float, typer.Option(min=1e-6, help="Their scale, divided by the rank.")] = 16.0,
    dora: Annotated[bool, typer.Option("--dora", help="Train the length of each output's weights too.")] = False,
    study: Study = "demo",
    seeds: Seeds = None,
    root: Root = Path("runs"),
    workers: Workers = None,
    engine: Engine = "local",
    dry_run: DryRun = False,
    format: Format = "terminal",
) -> None:
    """Train low-rank updates of one slot instead of all of it, and print the difference.

    Example: workbench lora language --rank 16
    """
    from ablations.beside import adapted
    from ablations.screens.beside import Asked, show_beside
    from workbench.spec import Lora

    asked = Asked(study, seeds, root, Means(engine, workers), dry_run, format)
    show_beside(lambda _: adapted(slot, Lora(rank=rank, alpha=alpha, dora=dora)), asked)


@app.command()
def last(
    slot: Slot,
    blocks: Annotated[int, typer.Option(min=1, help="How many of its last transformer blocks are trained.")] = 1,
    study: Study = "demo",
    seeds: Seeds = None,
    root: Root = Path("runs"),
    workers: Workers = None,
    engine: Engine = "local",
    dry_run: DryRun = False,
    format: Format = "terminal",
) -> None:
    """Train only the last blocks of one slot, and print the difference.

    Example: workbench last vision --blocks 1
    """
    from ablations.beside import adapted
    from ablations.screens.beside import Asked, show_beside
    from workbench.spec import LastBlocks

    asked = Asked(study, seeds, root, Means(engine, workers), dry_run, format)
    show_beside(lambda _: adapted(slot, LastBlocks(blocks=blocks)), asked)


@app.command()
def mask(
    what: Annotated[Literal["image", "instruction", "proprioception"], typer.Argument(help="Which input.")],
    how: Annotated[
        str | None,
        typer.Option(help="What is given in its place; a wrong name lists the choices. Default: blank, or zero."),
    ] = None,
    retrained: Annotated[bool, typer.Option("--retrained", help="Train the policy so too.")] = False,
    study: Study = "demo",
    seeds: Seeds = None,
    root: Root = Path("runs"),
    workers: Workers = None,
    engine: Engine = "local",
    dry_run: DryRun = False,
    format: Format = "terminal",
) -> None:
    """Give the policy another image, instruction or state of its robot, and print what it loses.

    Example: workbench mask instruction --how wrong
    """
    from ablations.beside import without
    from ablations.screens.beside import Asked, show_beside

    asked = Asked(study, seeds, root, Means(engine, workers), dry_run, format)
    show_beside(lambda _: without(what, how, retrained=retrained), asked)


@app.command()
def inject(
    objective: Annotated[str | None, typer.Argument(help="The control signal, or a negative control.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the objectives and controls, and do nothing.")] = False,
    encoder: Annotated[str | None, typer.Option(help="Another encoder than the backbone's own, on both sides.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Another backbone than the study's.")] = None,
    data: Annotated[Path | None, typer.Option(help="A LeRobot dataset to inject, not the expert's episodes.")] = None,
    study: Study = "demo",
    seeds: Seeds = None,
    root: Root = Path("runs"),
    workers: Workers = None,
    engine: Engine = "local",
    dry_run: DryRun = False,
    format: Format = "terminal",
) -> None:
    """Train the vision encoder on a control signal, freeze it, and print what that wins over freezing it as it was.

    Example: workbench inject behaviour-cloning
    """
    from ablations.beside import NEW_ADAPTER, injected
    from ablations.screens.beside import Asked, show_beside
    from workbench.screens.objective import list_objectives

    if list_ or objective is None:
        list_objectives(format)
        return
    changes = [f"base.backbone={json.dumps(backbone)}"] if backbone else []
    if encoder:
        changes += [f"base.vision.module={json.dumps(encoder)}", f"base.projector={NEW_ADAPTER}"]
    asked = Asked(study, seeds, root, Means(engine, workers), dry_run, format, tuple(changes))
    show_beside(lambda base: injected(base, objective, data), asked)


@app.command()
def skills(
    study: StudyName,
    skills: Annotated[str | None, typer.Option(help="Which ones, such as pointing,order. Default: all.")] = None,
    seeds: Seeds = None,
    root: Root = Path("runs"),
    workers: Workers = None,
    engine: Engine = "local",
    changes: Changes = [],  # noqa: B006
    dry_run: DryRun = False,
    format: Format = "terminal",
) -> None:
    """Finetune the model of STUDY on each skill, its policy from there, and set what both gained side by side.

    Example: workbench skills demo --skills pointing,planning,colours,order --seeds 0,1,2
    """
    from ablations.screens.beside import Asked
    from ablations.screens.skills import show_skills

    show_skills(Asked(study, seeds, root, Means(engine, workers), dry_run, format, tuple(changes)), skills)
