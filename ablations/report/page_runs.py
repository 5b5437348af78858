"""The runs behind every row of the page: what the ledger says, and where each figure comes from."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablations.notation import duration
from ablations.report.columns import FAILED, NOT_RUN
from ablations.report.page_tables import Cell, Sheet
from ablations.runs import TRAINING, Wanted
from ablations.study import Study
from ablations.table import Table
from workbench.plan import Evaluate, Replay
from workbench.record import Record, moved_bits

INJECTION = "injection:"
HEADS = ("slot", "filled with", "tune", "trainable", "of", "bits")
TOLD = {
    "success": "success",
    "episodes": "episodes",
    "final_loss": "final loss",
    "samples": "samples trained on",
    "device": "device",
    "dtype": "precision",
    "manifest": "manifest",
    "data_digest": "data digest",
    "weights_sha256": "SHA-256 of the weights",
    "episodes_sha256": "SHA-256 of the episodes",
    "process_peak_mib": "peak memory (MiB)",
}
"""Keys of a result that the page tells, and their names there."""


@dataclass(frozen=True)
class RunView:
    """One run. `facts` are its provenance; `state` says where it failed or is missing; it then has no ledger."""

    id: str
    title: str
    state: str
    ledger: Sheet | None
    facts: tuple[tuple[str, str], ...]
    plan: str


@dataclass(frozen=True)
class ArmView:
    """An arm, an injection, or a training that only an evaluation needs, with its runs."""

    id: str
    name: str
    about: str
    state: str
    runs: tuple[RunView, ...]


def arm_views(
    study: Study, runs: Sequence[Wanted], records: Mapping[str, Record], *, table: Table
) -> tuple[ArmView, ...]:
    """The study's arms in its order, then what they share."""
    facts = {arm.name: arm.facts for arm in table.arms}
    names = [arm.name for arm in study.arms]
    names += [run.arm for run in runs if run.arm not in names]
    found = []
    for number, name in enumerate(dict.fromkeys(names)):
        own = [run for run in runs if run.arm == name]
        about = facts.get(name) or _purpose(name)
        seen = tuple(_run(run, records.get(run.id)) for run in own)
        found.append(ArmView(f"arm-{number}", name, about, _states(seen), seen))
    return tuple(found)


def progress(runs: Sequence[Wanted], records: Mapping[str, Record]) -> str:
    """How much of the study the page rests on, in a sentence."""
    failed = sum(record.error is not None for record in records.values())
    words = f"{len(records)} of {len(runs)} runs are recorded"
    return f"{words}, {failed} of them failed." if failed else f"{words}."


def _purpose(name: str) -> str:
    if name.startswith(INJECTION):
        return "trained once, and shared by the arms that start from it"
    return "trained only to be played with other inputs" if name.endswith(TRAINING) else ""


def _states(runs: Iterable[RunView]) -> str:
    """`3 runs`, `2 runs, 1 failed`: what a closed section still tells."""
    states = [run.state for run in runs]
    words = [f"{len(states)} {'run' if len(states) == 1 else 'runs'}"]
    words += [f"{states.count(word)} {word}" for word in (FAILED, NOT_RUN) if word in states]
    return ", ".join(words)


def _run(run: Wanted, record: Record | None) -> RunView:
    plan = json.dumps(run.plan.model_dump(mode="json"), indent=1)
    if record is None:
        return RunView(run.id, _title(run), NOT_RUN, None, (), plan)
    state, ledger = "recorded", None
    if record.error is not None:
        state = FAILED
    elif not isinstance(record.plan, Replay):
        ledger = _ledger(record.ledger(), run)
    return RunView(run.id, _title(run), state, ledger, _provenance(record), plan)


def _title(run: Wanted) -> str:
    """What tells a run from the others of its arm."""
    words = [f"Seed {run.seed}", run.plan.kind]
    words += [f"learning rate {run.rate:g}"] if run.rate is not None else []
    words += [f"{run.rung} of the steps, only to choose arms"] if run.rung else []
    words += ["only to choose the learning rate"] if run.chooses and not run.rung else []
    return " · ".join(words)


def _ledger(ledger: Mapping[str, Any], run: Wanted) -> Sheet:
    """What each slot holds, how much of it was trained, and whether its bits moved."""
    rows = tuple(
        (
            Cell(row["slot"], order=place),
            Cell(f"{row['module']}, {row['weights']}", order=row["module"]),
            Cell(row["tune"], order=row["tune"]),
            Cell(f"{row['trainable']:,}", order=row["trainable"]),
            Cell(f"{row['parameters']:,}", order=row["parameters"]),
            Cell(moved_bits(row), order=moved_bits(row)),
        )
        for place, row in enumerate(ledger["rows"])
    )
    new = f"{ledger['new_parameters']:,} of {ledger['total_parameters']:,} parameters are new"
    return Sheet(f"ledger-{run.id}", f"Ledger of run {run.id}, seed {run.seed}: {new}", HEADS, rows, ())


def _provenance(record: Record) -> tuple[tuple[str, str], ...]:
    result = record.result
    facts = [("reason", record.error)] if record.error is not None else []
    facts += [("plays the policy of run", record.plan.of)] if isinstance(record.plan, Evaluate) else []
    facts += [(name, _said(result[key])) for key, name in TOLD.items() if result.get(key) is not None]
    for key, name in (("training_seconds", "training time"), ("playing_seconds", "playing time")):
        facts += [(name, duration(result[key]))] if key in result else []
    facts += [(f"{kind} {name}".strip(), _said(value)) for kind, name, value in _machine(result.get("machine", {}))]
    return tuple(facts)


def _machine(machine: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """The machine as it was recorded, and the version of each package."""
    plain = [("", key, value) for key, value in machine.items() if key != "packages"]
    return plain + [("package", name, version) for name, version in machine.get("packages", {}).items()]


def _said(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
