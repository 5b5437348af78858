"""The runs of a study as sinks are told of them, and what a person sees of that."""

from collections.abc import Sequence
from pathlib import Path

from ablations.halving.halve import halved, runs_of
from ablations.halving.words import called
from ablations.runs import TRAINING, Wanted
from ablations.study import Study
from ablations.study_file import read_study
from workbench.record import find
from workbench.screens.console import console, stage
from workbench.sinks.contract import Logged
from workbench.sinks.mirror import mirror
from workbench.sinks.names import SinkName
from workbench.sinks.registry import open_sink, sink_folder


def logged(study: Study, root: Path) -> list[Logged]:
    """The recorded runs of the study, called by their arms."""
    found = [
        (run, record) for run in runs_of(study, halved(study, root)) if (record := find(root, run.plan)) is not None
    ]
    return [Logged(record, study.name, run.arm.removesuffix(TRAINING), _name(run)) for run, record in found]


def _name(run: Wanted) -> str:
    rate = "" if run.rate is None else f", rate {run.rate:g}"
    return f"{called(run)}, seed {run.seed}{rate}{', selection' if run.chooses else ''}"


def log_study(study: Study, root: Path, to: SinkName) -> None:
    """Copy what is recorded of the study, and say how to see it."""
    sink, runs = open_sink(to, root, study.name), logged(study, root)
    if not runs:
        console.print(f"No run of {study.name!r} is recorded in {root}: nothing to log.", markup=False)
        return
    with stage("Log", f"copy what runs wrote to {to}") as progress:
        done = mirror(runs, sink, sink_folder(root, to, study.name), lambda at, total: progress(at, total, "runs"))
    said = f"{done.written} runs logged to {to}, {done.before} had been before. See them: {sink.where()}"
    console.print(said, markup=False, soft_wrap=True)


def show_log(name: str, root: Path, to: SinkName, changes: Sequence[str] = ()) -> None:
    """As `log_study`, of a study by its file or name."""
    log_study(read_study(name, changes), root, to)
