"""The command line: parses, calls one function, prints. Heavy imports live inside the commands."""

import errno
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from ablations.cli_arms import app as arms
from ablations.cli_duel import app as duels
from ablations.cli_encoders import app as encoders
from ablations.cli_log import app as logs
from ablations.cli_pace import app as pace
from workbench.cli_data import app as data
from workbench.cli_policy import app as policies
from workbench.cli_runs import app as runs
from workbench.engines.means import Means
from workbench.errors import UserError
from workbench.launch import one_of_all
from workbench.options import Changes, Engine, Format, Log, Published, Root, Screen, StudyName, Workers, with_screen

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Which part of my vision-language model holds my robot policy back?",
)
app.add_typer(encoders, name="encoders")
app.add_typer(data, name="data")
app.add_typer(arms)
app.add_typer(duels)
app.add_typer(logs)
app.add_typer(pace)
app.add_typer(runs)
app.add_typer(policies)


@app.command()
def demo(root: Root = Path("runs"), workers: Workers = None, engine: Engine = "local") -> None:
    """The main job on the embedded backbone: demonstrations, runs, the bottleneck table. Ten minutes on two cores.

    Example: workbench demo
    """
    from ablations.screens.study import demo as show_demo

    show_demo(root, Means(engine, workers))


@app.command()
def run(
    study: StudyName,
    root: Root = Path("runs"),
    workers: Workers = None,
    engine: Engine = "local",
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster. Default: RAY_ADDRESS, or a new one.")] = None,
    changes: Changes = [],  # noqa: B006
    screen: Screen = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and do nothing.")] = False,
    log: Log = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Keep nothing of what frozen encoders see.")] = False,
    format: Format = "terminal",
) -> None:
    """Carry out what of STUDY is not recorded yet, then print its table.

    Example: workbench run demo --set "seeds=[0, 1]" --dry-run
    """
    from ablations.study_file import read_study

    changes = with_screen(changes, screen)
    if dry_run:
        from ablations.screens.estimate import show_estimate

        show_estimate(read_study(study, changes, planning=True), root, format)
    else:
        from ablations.screens.study import run_study

        means = Means(engine, workers, address, cache=not no_cache)
        run_study(study, root, means, changes, log=log, format=format)


@app.command()
def plan(
    study: StudyName,
    root: Root = Path("runs"),
    changes: Changes = [],  # noqa: B006
    screen: Screen = False,
    flops: Annotated[
        bool, typer.Option("--flops", help="Count what each arm's training computes and the memory it holds.")
    ] = False,
    format: Format = "terminal",
) -> None:
    """List the arms and runs of STUDY: trainable parameters, what is recorded, what is missing. Runs nothing.

    Example: workbench plan demo --flops
    """
    from ablations.screens.plan import show_plan

    show_plan(study, root, format, with_screen(changes, screen), flops=flops)


@app.command()
def table(
    study: StudyName,
    root: Root = Path("runs"),
    changes: Changes = [],  # noqa: B006
    screen: Screen = False,
    format: Annotated[
        Literal["terminal", "markdown", "latex", "csv", "json"], typer.Option(help="How to print.")
    ] = "terminal",
    published: Published = False,
    cells: Annotated[
        Literal["wilson", "clopper-pearson"], typer.Option(help="Which interval a success rate has.")
    ] = "wilson",
) -> None:
    """Compute the modality bottleneck table of STUDY from what is recorded. Runs nothing.

    Example: workbench table demo --format markdown
    """
    from ablations.screens.study import show_table

    show_table(study, root, format, with_screen(changes, screen), published=published, cells=cells)


@app.command()
def report(
    study: StudyName,
    root: Root = Path("runs"),
    output: Annotated[
        Path | None, typer.Option(help="The HTML file. Default: ROOT/reports/<study>/report.html.")
    ] = None,
    screen: Screen = False,
    published: Published = False,
) -> None:
    """Write STUDY as one HTML page that stands alone: verdict, table, plots, rollouts, ledgers. Runs nothing.

    Example: workbench report demo --output demo.html
    """
    from ablations.screens.report import write_report

    write_report(study, root, output, with_screen([], screen), published=published)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="The id of a finished run, or an arm of STUDY.")],
    b: Annotated[str, typer.Argument(help="What it is compared with: the same kind of thing.")],
    study: Annotated[str | None, typer.Option(help="Whose arms A and B are: a TOML file, or a name.")] = None,
    root: Root = Path("runs"),
    format: Format = "terminal",
) -> None:
    """Print the difference in success of two runs that played the same episodes, or of two arms. Runs nothing.

    Example: workbench compare freeze-language freeze-vision --study demo
    """
    from ablations.compare_runs import show_difference

    show_difference(a, b, study, root, format)


@app.command()
def power(
    study: StudyName,
    effect: Annotated[float, typer.Option(help="Freeze cost of the bottleneck to find, in points.")] = 20.0,
    success: Annotated[float, typer.Option(help="Success of the arm that trains everything, in %.")] = 70.0,
    seed_scatter: Annotated[float, typer.Option(help="Its standard deviation over training seeds, in points.")] = 5.0,
    format: Format = "terminal",
) -> None:
    """Simulate how surely STUDY would find its bottleneck, and the seeds and episodes it takes. Runs nothing.

    Example: workbench power demo --effect 20
    """
    from ablations.screens.power import Assumed, show_power

    show_power(study, Assumed(effect / 100, success / 100, seed_scatter / 100), format)


@app.command()
def doctor(
    benchmark: Annotated[
        str | None, typer.Argument(help="What is to be played. Default: look at all, shortly.")
    ] = None,
    root: Root = Path("runs"),
    format: Format = "terminal",
) -> None:
    """Say what this machine has and lacks, with remedies: packages, rendering, simulators, an episode really played.

    Example: workbench doctor metaworld-mt10
    """
    from workbench.screens.doctor import show_doctor

    raise typer.Exit(0 if show_doctor(benchmark, root, format) else 1)


@app.command()
def inspect(
    backbone: Annotated[str, typer.Argument(help="embedded, a local folder, or a hub id.")],
    vision: Annotated[str | None, typer.Option(help="An encoder to put in the vision slot.")] = None,
    config_only: Annotated[
        bool, typer.Option("--config-only", help="Read config.json alone: no tokenizer, no processor, no weights.")
    ] = False,
    format: Format = "terminal",
) -> None:
    """Print the slots of BACKBONE: parameters, paths, tokens, attention, prompt, what "freeze vision" freezes.

    Example: workbench inspect Qwen/Qwen2.5-VL-3B-Instruct --config-only
    """
    from workbench.screens.console import inspect_backbone

    inspect_backbone(backbone, vision, config_only, format)


@app.command()
def pretrain(
    output: Annotated[Path, typer.Option(help="Folder of the new backbone.")] = Path("embedded"),
    scenes: Annotated[int | None, typer.Option(min=100, help="Rendered scenes. Default: the recipe's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each stage. Default: the recipe's.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of scenes, questions and weights.")] = 0,
) -> None:
    """Make the embedded vision-language model: render scenes, fit the tokenizer, pretrain, test, save.

    Example: workbench pretrain --output my-backbone --steps 200 --scenes 2000
    """
    from workbench.screens.console import pretrain_backbone

    pretrain_backbone(output, scenes, steps, seed)


def main() -> None:
    """A user's mistake costs one plain sentence and exit code 2. Started by torchrun, one process is the user's."""
    try:
        with one_of_all() as first:
            if first:
                app()
    except UserError as error:
        _refuse(str(error))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _refuse(f"The disk is full ({error.filename or 'while writing'}): free some space and start again.")
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError):
            _refuse(f"{error.filename} cannot be written ({error.strerror}): choose another folder.")
        raise


def _refuse(sentence: str) -> NoReturn:
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
