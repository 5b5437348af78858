"""What a person sees of a study: its progress, its table."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

from rich.markup import escape

from ablations.bottleneck import bottleneck
from ablations.gather import gather
from ablations.halving.halve import halved, runs_of
from ablations.halving.words import decided, waiting
from ablations.logged import log_study
from ablations.notation import plural
from ablations.runs import Wanted, wanted
from ablations.statistics.cell import Cells
from ablations.study import Study
from ablations.study_file import read_study
from ablations.table import Table
from workbench.engines.contract import Engine, Event
from workbench.engines.means import Means
from workbench.engines.registry import engine
from workbench.errors import UserError
from workbench.plan import Evaluate, Finetune, Inject, Job, Plan, Replay, job_id
from workbench.recipes import Expert, actions_of
from workbench.record import find, is_done
from workbench.screens.console import console, ledger_table, stage, told_aside
from workbench.sinks.names import SinkName
from workbench.sinks.registry import open_sink
from workbench.stopping import stopped_in_a_sentence

TRAINING_SHARE = 0.8
"""Of a run's time; the rest is playing. Only for the progress bar."""


def demo(root: Path, means: Means) -> None:
    run_study("demo", root, means)


def run_study(
    name: str,
    root: Path,
    means: Means,
    changes: Sequence[str] = (),
    *,
    log: SinkName | None = None,
    format: Literal["terminal", "json"] = "terminal",
) -> None:
    """Do what is missing, then print the table and where everything lies; `log`: copy the runs to that sink too."""
    study = read_study(name, changes)
    with told_aside(format == "json"):
        if log:
            open_sink(log, root, study.name)  # a package that is missing is told before hours are spent
        console.print(escape(study.question), style="bold")
        complaint = make_missing(study, root, means)
        if log:
            log_study(study, root, log)
        _print_ledger(study, wanted(study), root)
        table = _report(study, root, name)
    if format == "json":
        print(table.as_json())
    if complaint:
        raise UserError(complaint)


def make_missing(study: Study, root: Path, means: Means) -> str:
    """Carry out what of `study` is not recorded; returns what to say, after the table, of runs that broke, or ""."""
    with stopped_in_a_sentence():
        broken = _halve(study, root, means)
        runs = runs_of(study, halved(study, root))
        missing = [run for run in runs if find(root, run.plan) is None and run.id not in broken]
        done = len(runs) - len(missing) - len(broken)
        console.print(f"{plural(len(runs), 'run')}, {done} of them recorded in {root}.")
        broken |= _make(missing, root, means)
    reasons = "; ".join(dict.fromkeys(reason.splitlines()[-1] for reason in broken.values() if reason))
    return f"{plural(len(broken), 'run')} broke, the others are recorded: {reasons}" if broken else ""


def _halve(study: Study, root: Path, means: Means) -> dict[str, str]:
    """Make one rung after the other until it is decided which arms are run in full; returns what broke, by id.

    A run that broke without a record decides nothing: the rung stays open, and is tried again at the next start.
    """
    halving, broken = halved(study, root), dict[str, str]()
    while halving.due and not broken:
        console.print(waiting(study, halving), markup=False)
        injections = [run for run in runs_of(study, halving) if isinstance(run.plan, Inject)]
        missing = [run for run in (*injections, *halving.due) if find(root, run.plan) is None]
        broken = _make(missing, root, means)
        before, halving = halving, halved(study, root)
        for one in halving.decided[len(before.decided) :]:
            console.print(decided(one), markup=False)
    return broken


def _make(missing: Sequence[Wanted], root: Path, means: Means) -> dict[str, str]:
    """Data and runs that are missing; returns what broke, by id."""
    if not missing:
        return {}
    carry_out = engine(means)
    _check_models(missing, here=means.engine == "local")
    collect_missing(uncollected([run.plan for run in missing], root), root, carry_out)
    purpose = "train each arm's model on the same demonstrations, then let it play the same episodes"
    broken = _carry_out([run.plan for run in missing], root, carry_out, title="Runs", purpose=purpose)
    for id, error in broken.items():
        console.print(f"run {id} broke: {error}", style="red", markup=False)
    return broken


def _report(study: Study, root: Path, name: str) -> Table:
    """The table on the screen, and in a folder with its figures; returns it."""
    from ablations.curves import curves
    from ablations.figures import write_figures
    from ablations.report.terminal import print_table

    table = bottleneck(gather(study, root))
    folder = root / "reports" / study.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.json").write_text(table.as_json() + "\n")
    write_figures(table, folder, curves=curves(study, root))
    print_table(table, console)
    for what, where in (
        ("table and plots", folder),
        ("videos", root / "<run>" / "films"),
        ("run records", root / "<run>"),
    ):
        console.print(f"{what}: {where}", markup=False, soft_wrap=True)
    console.print(f"which run is which: workbench plan {name} --root {root}", markup=False, soft_wrap=True)
    return table


def _check_models(missing: Sequence[Wanted], *, here: bool) -> None:
    """What cannot be is refused before minutes are spent: a name, a slot that is not tuned so, and, where runs are
    carried out `here`, a device."""
    from workbench.compute import place
    from workbench.count import trainable_parameters
    from workbench.names import check_names

    plans = {run.plan.spec.model_dump_json(): run.plan for run in missing if isinstance(run.plan, Finetune | Inject)}
    for plan in plans.values():
        check_names(plan.spec)
        if here:
            place(plan.compute)
    for plan in plans.values():
        trainable_parameters(plan.spec, chunk=plan.budget.chunk, actions=actions_of(plan.data))


def collect_missing(recipes: Sequence[Expert], root: Path, carry_out: Engine) -> None:
    """Write the expert datasets of those `recipes`."""
    if recipes:
        tasks = ", ".join(dict.fromkeys(task for recipe in recipes for task in recipe.tasks))
        splits = " and ".join(dict.fromkeys(recipe.split for recipe in recipes))
        purpose = f"the scripted expert shows {tasks} ({splits} episodes)"
        for error in _carry_out(recipes, root, carry_out, title="Demonstrations", purpose=purpose).values():
            raise UserError(error)


def uncollected(plans: Iterable[Plan], root: Path) -> list[Expert]:
    """Recipes of the plans' demonstrations that are not collected yet, each once."""
    data = dict.fromkeys(plan.data for plan in plans if isinstance(plan, Finetune | Inject))
    return [recipe for recipe in data if isinstance(recipe, Expert) and not is_done(root, recipe)]


def _carry_out(jobs: Sequence[Job], root: Path, carry_out: Engine, *, title: str, purpose: str) -> dict[str, str]:
    """Do what is missing under one progress bar; returns what broke, by id."""
    waited = {job_id(job): job for job in jobs}
    share = dict.fromkeys(waited, 0.0)
    ended, broken = 0, dict[str, str]()
    with stage(title, purpose) as progress, closing(carry_out(jobs, root)) as events:
        for event in events:
            if event.stage == "elsewhere":
                console.print(f"{_runs(event.total)} being done by another process: waiting for it.")
                continue
            if event.stage in ("recorded", "broken"):
                ended += 1
            if event.stage == "broken":
                broken[event.run] = event.error
            share[event.run] = _share(event, waited[event.run])
            progress(sum(share.values()), len(waited), f"· {ended} of {len(waited)} done")
    return broken


def _runs(count: int) -> str:
    return "1 run is" if count == 1 else f"{count} runs are"


def _share(event: Event, job: Job) -> float:
    """How much of its job an event stands for, 0 … 1."""
    done = event.done / max(1, event.total)
    match event.stage:
        case "training":
            return TRAINING_SHARE * done
        case "collecting":
            return done
        case "playing":
            return done if isinstance(job, Evaluate | Replay) else TRAINING_SHARE + (1 - TRAINING_SHARE) * done
        case _:
            return 1.0


def _print_ledger(study: Study, runs: Sequence[Wanted], root: Path) -> None:
    """The ledger of the base model: what each slot holds, and which part of it is new."""
    for run in runs:
        record = find(root, run.plan)
        if run.arm == study.arms[0].name and record is not None and record.error is None:
            console.print(f"[dim]arm {run.arm}, seed {run.seed} (any other: workbench show RUN)[/dim]")
            console.print(ledger_table(record.ledger()))
            return


def show_table(
    name: str,
    root: Path,
    format: Literal["terminal", "markdown", "latex", "csv", "json"],
    changes: Sequence[str] = (),
    *,
    published: bool = False,
    cells: Cells = "wilson",
) -> None:
    """Print the table of what is recorded, its success rates with the intervals `cells`; `published`: with the papers'
    figures beside it.
    """
    from ablations.published import with_published
    from ablations.report.terminal import print_table
    from ablations.report.text import WRITERS

    table = bottleneck(gather(read_study(name, changes), root), cells)
    table = with_published(table) if published else table
    if format == "terminal":
        print_table(table, console)
    else:
        print(WRITERS[format](table))
