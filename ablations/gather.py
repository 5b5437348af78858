"""From run records to what the table is computed from: facts of the ledger, and outcomes in manifest order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ablations.arms import Arm
from ablations.bottleneck import ArmRecord, SlotFact, StudyRecord
from ablations.halving.halve import Halving, halved, runs_of
from ablations.halving.words import dropped, notes
from ablations.matched import ranks
from ablations.runs import TRAINING, Wanted, arm_runs
from ablations.study import Study
from ablations.taught import stages_of
from workbench.disjoint import check_disjoint
from workbench.edits import edited
from workbench.errors import UserError
from workbench.plan import Finetune, Inject, Plan, Replay
from workbench.record import Record, find, open_record
from workbench.spec import SLOTS

SELECTION = "last step"


def gather(study: Study, root: Path) -> StudyRecord:
    """What is recorded of `study` under `root`. Nothing is run; what is missing is named in its arm."""
    halving = halved(study, root)
    runs = runs_of(study, halving)
    records = {run.id: record for run in runs if (record := find(root, run.plan)) is not None}
    _one_manifest(runs, records)
    known = {run.id: run.plan for run in runs}
    for id, record in records.items():
        check_disjoint(record.plan, root, run=id, known=known)
    plan_of = partial(_plan_of, {run.id: run.plan for run in runs if isinstance(run.plan, Inject)}, root)
    chosen = {arm.name: _chosen(study, arm, records) for arm in study.arms}
    chosen |= dict.fromkeys((*halving.dropped, *halving.undecided), [])  # recorded or not, they are not reported
    return StudyRecord(
        study=study.name,
        question=study.question,
        backbone=study.base.backbone,
        head=study.base.head.module,
        benchmark=study.protocol.benchmark,
        manifest=study.protocol.manifest_digest(),
        selection=SELECTION,
        budget=_budget(study),
        tasks=tuple(start.task for start in study.protocol.manifest()),
        arms=_arms(study, {name: _done(own, records) for name, own in chosen.items()}, plan_of, halving),
        contrasts=tuple((c.name, c.a, c.b) for c in study.contrasts),
        notes=(*notes(study, halving), *_notes(study, chosen, records)),
    )


def _budget(study: Study) -> str:
    each = "" if study.matched == "steps" else f" for the base, as many {study.matched} for every arm"
    return f"{study.budget.steps:,} steps of {study.budget.batch}{each}, learning rate {study.budget.learning_rate:g}"


def _one_manifest(runs: Sequence[Wanted], records: Mapping[str, Record]) -> None:
    for run in runs:
        if run.id in records and not isinstance(run.plan, Inject):
            expected, played = run.plan.protocol.manifest_digest(), records[run.id].result.get("manifest")
            if played not in (expected, None):
                raise UserError(
                    f"The run {run.id} played the manifest {played}, the study's is {expected}: not comparable."
                )


def _chosen(study: Study, arm: Arm, records: Mapping[str, Record]) -> list[Wanted]:
    """The runs of an arm that are reported: with the learning rate that has the most success on selection episodes.

    None of them while a run that decides on it is missing or has failed.
    """
    runs = list(arm_runs(study, arm))
    reported = [run for run in runs if not run.chooses and not run.arm.endswith(TRAINING)]
    if not arm.learning_rates:
        return reported
    tried: dict[float | None, list[float]] = {rate: [] for rate in arm.learning_rates}
    for run in runs:
        if run.chooses:
            record = records.get(run.id)
            if record is None or record.error is not None:
                return []
            tried[run.rate].append(record.result["success"])
    best = max(tried, key=lambda rate: float(np.mean(tried[rate])))
    return [run for run in reported if run.rate == best]


def _done(runs: Sequence[Wanted], records: Mapping[str, Record]) -> dict[int, Record]:
    """The records of an arm's runs, by seed."""
    return {run.seed: records[run.id] for run in runs if run.id in records}


def _arms(
    study: Study,
    done: Mapping[str, Mapping[int, Record]],
    plan_of: Callable[[str], Plan],
    halving: Halving,
) -> tuple[ArmRecord, ...]:
    """Each arm by its records; one that was dropped waits for none."""
    found = [_arm(study, arm, done[arm.name], plan_of) for arm in study.arms]
    lost = halving.dropped
    return tuple(
        replace(arm, dropped=dropped(study, lost[arm.name]), missing=()) if arm.name in lost else arm for arm in found
    )


def _arm(study: Study, arm: Arm, done: Mapping[int, Record], plan_of: Callable[[str], Plan]) -> ArmRecord:
    whole = {seed: record for seed, record in done.items() if record.error is None}
    _different_seeds(arm, whole)
    ledgers = [record.ledger() for record in whole.values() if not isinstance(record.plan, Replay)]
    rows = {row["slot"]: row for row in ledgers[0]["rows"]} if ledgers else {}
    seconds = [r.result["training_seconds"] for r in whole.values() if "training_seconds" in r.result]
    outcomes = {seed: np.array([o.success for o in record.outcomes()]) for seed, record in whole.items()}
    seeds = arm.seeds or study.seeds
    if arm.reference and outcomes:  # it has no seed: it stands beside each of the others
        outcomes, seeds = dict.fromkeys(seeds, outcomes[0]), (0,)
    return ArmRecord(
        name=arm.name,
        reference=arm.reference,
        slots=_slots(study, arm, rows, plan_of),
        replaced=any(row["module"] != "native" for slot, row in rows.items() if slot != "head"),
        inputs=arm.inputs,
        retrained=arm.retrained,
        otherwise=_otherwise(study, arm),
        trainable_parameters=sum(row["trainable"] for row in rows.values()) if rows else None,
        seconds=float(np.mean(seconds)) if seconds else None,
        outcomes=outcomes,
        failed={seed: record.error for seed, record in done.items() if record.error is not None},
        missing=tuple(seed for seed in seeds if seed not in done),
        absent=_absent(study, arm),
    )


def _absent(study: Study, arm: Arm) -> tuple[str, ...]:
    """What the base's model is given and the arm's is not."""
    taken = study.base.proprioception > 0 and not edited(study.base, arm.edits).proprioception
    return ("proprioception",) if taken and not arm.reference else ()


def _slots(
    study: Study, arm: Arm, rows: Mapping[str, Mapping[str, Any]], plan_of: Callable[[str], Plan]
) -> dict[str, SlotFact]:
    """What happened to the slots is read from the ledger's rows; which run they start from, from the arm's plan."""
    spec = next(run.plan.spec for run in arm_runs(study, arm) if isinstance(run.plan, Finetune)) if rows else study.base
    return {
        slot: SlotFact(rows[slot]["weights"], rows[slot]["moved"], stages_of(slot, spec.slot(slot).weights, plan_of))
        for slot in SLOTS
        if slot in rows
    }


def _plan_of(declared: Mapping[str, Inject], root: Path, run: str) -> Plan:
    """The plan of a run that weights come from, the study's own injection or any other run that is recorded.

    UserError where it is not recorded under `root`: it might have been a negative control.
    """
    return declared[run] if run in declared else open_record(root, run).plan


def _different_seeds(arm: Arm, whole: Mapping[int, Record]) -> None:
    """Two seeds that gave the same weights are one: counted twice they would narrow every interval."""
    first: dict[str, int] = {}
    for seed, record in whole.items():
        if (weights := record.result.get("weights_sha256")) is not None and first.setdefault(weights, seed) != seed:
            raise UserError(
                f"The seeds {first[weights]} and {seed} of the arm '{arm.name}' gave the same weights, bit for bit: "
                f"they are one training. Delete the run {record.id} and run again."
            )


def _otherwise(study: Study, arm: Arm) -> tuple[str, ...]:
    """What no ledger says of an arm: another budget, another learning rate of a slot."""
    changed = study.changed_budget(arm).model_dump()
    budget = [f"{name} {value:g}" for name, value in changed.items() if value != getattr(study.budget, name)]
    slots = {name: edited(study.base, arm.edits).slot(name) for name in SLOTS}
    rates = [f"{name} at {slot.rate:g} × the learning rate" for name, slot in slots.items() if slot.rate != 1]
    return (*budget, *rates)


def _sizes(study: Study, chosen: Mapping[str, Sequence[Wanted]], records: Mapping[str, Record]) -> list[str]:
    """What was reached where an arm was to be as large as another one, by the ledgers of their runs."""

    def reached(name: str) -> int | None:
        done = [record for record in _done(chosen[name], records).values() if record.error is None]
        return sum(row["trainable"] for row in done[0].ledger()["rows"]) if done else None

    notes = []
    for arm in study.arms:
        if arm.parameters_of is None:
            continue
        own, other = reached(arm.name), reached(arm.parameters_of)
        if own is not None and other is not None:
            rank = max(ranks(study.model_of(arm)).values())
            notes.append(
                f"'{arm.name}' was to train as many parameters as '{arm.parameters_of}': at rank {rank} it trains "
                f"{own:,}, beside {other:,} ({100 * (own / other - 1):+.1f} %)."
            )
    return notes


def _seconds(study: Study, chosen: Mapping[str, Sequence[Wanted]], records: Mapping[str, Record]) -> list[str]:
    """What trainings that were to take equally long took, by their records: means of the arms that had to."""
    if study.matched != "seconds":
        return []
    took = dict[float, str]()
    for arm in study.arms:
        done = [record.result for record in _done(chosen[arm.name], records).values()]
        seconds = [result["training_seconds"] for result in done if "training_seconds" in result]
        if seconds and "steps" not in arm.budget:
            took[float(np.mean(seconds))] = arm.name
    if len(took) < 2:
        return []
    least, most = min(took), max(took)
    return [
        f"Trainings were to take equally long, by seconds a step measured beforehand: they took {least:,.1f} s "
        f"('{took[least]}') to {most:,.1f} s ('{took[most]}')."
    ]


def _notes(study: Study, chosen: Mapping[str, Sequence[Wanted]], records: Mapping[str, Record]) -> tuple[str, ...]:
    notes = []
    for arm in study.arms:
        if arm.learning_rates and chosen[arm.name]:
            tried = ", ".join(f"{rate:g}" for rate in arm.learning_rates)
            notes.append(
                f"'{arm.name}' was trained with the learning rates {tried}; {chosen[arm.name][0].rate:g} did best on "
                f"{len(study.selection.manifest())} other episodes and is the one that is reported."
            )
    notes += _sizes(study, chosen, records)
    notes += _seconds(study, chosen, records)
    if study.injections:
        notes.append(
            "An injection is trained once (one seed) and shared by the arms that name it: their intervals do not "
            "cover how another injection seed would have turned out."
        )
    if broken := sum(record.result.get("faults", 0) for record in records.values()):
        notes.append(f"{broken} of all episodes count as failed because their simulator broke (`fault` in the record).")
    precisions = {r.result[key] for r in records.values() for key in ("device", "dtype") if key in r.result}
    if len(precisions) > 2:
        notes.append(f"The runs were computed in different places or precisions: {', '.join(sorted(precisions))}.")
    versions = {str(sorted(r.result["machine"]["packages"].items())) for r in records.values()}
    if len(versions) > 1:
        notes.append("The runs were made with different package versions.")
    revisions = {str(r.result["machine"].get("revision", "not recorded")) for r in records.values()}
    if len(revisions) > 1:
        notes.append(f"The runs were made by different revisions of the code: {', '.join(sorted(revisions))}.")
    return tuple(notes)
