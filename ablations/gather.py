"""From run records to what the table is computed from: facts of the ledger, and outcomes in manifest order."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ablations.bottleneck import ArmRecord, SlotFact, StudyRecord
from ablations.study import Arm, Study, Wanted, wanted
from workbench.errors import UserError
from workbench.record import Record, find
from workbench.spec import SLOTS

SELECTION = "last step"


def gather(study: Study, root: Path) -> StudyRecord:
    """What is recorded of `study` under `root`. Nothing is run; what is missing is named in its arm."""
    runs = wanted(study)
    records = {run.id: record for run in runs if (record := find(root, run.plan)) is not None}
    _one_manifest(study, records)
    arms = tuple(_arm(arm, [run for run in runs if run.arm == arm.name], records) for arm in study.arms)
    return StudyRecord(
        study=study.name,
        question=study.question,
        backbone=study.base.backbone,
        head=study.base.head.module,
        benchmark=study.protocol.benchmark,
        manifest=study.protocol.manifest_digest(),
        selection=SELECTION,
        tasks=tuple(start.task for start in study.protocol.manifest()),
        arms=arms,
        contrasts=tuple((c.name, c.a, c.b) for c in study.contrasts),
        notes=_notes(study, runs, records),
    )


def _one_manifest(study: Study, records: Mapping[str, Record]) -> None:
    expected = study.protocol.manifest_digest()
    for record in records.values():
        played = record.result.get("manifest", expected)
        if played != expected:
            raise UserError(
                f"The run {record.id} played the manifest {played}, the study's is {expected}: they cannot be compared."
            )


def _arm(arm: Arm, runs: Sequence[Wanted], records: Mapping[str, Record]) -> ArmRecord:
    done = {run.seed: records[run.id] for run in runs if run.id in records}
    whole = {seed: record for seed, record in done.items() if record.error is None}
    ledgers = [record.ledger() for record in whole.values()]
    rows = {row["slot"]: row for row in ledgers[0]["rows"]} if ledgers else {}
    seconds = [r.result["training_seconds"] for r in whole.values() if "training_seconds" in r.result]
    return ArmRecord(
        name=arm.name,
        slots={slot: SlotFact(rows[slot]["weights"], rows[slot]["moved"]) for slot in SLOTS if slot in rows},
        replaced=any(row["module"] != "native" for slot, row in rows.items() if slot != "head"),
        image=arm.inputs.image,
        instruction=arm.inputs.instruction,
        trainable_parameters=sum(row["trainable"] for row in rows.values()) if rows else None,
        seconds=float(np.mean(seconds)) if seconds else None,
        outcomes={seed: np.array([o.success for o in record.outcomes()]) for seed, record in whole.items()},
        failed={seed: record.error for seed, record in done.items() if record.error is not None},
        missing=tuple(run.seed for run in runs if run.id not in records),
    )


def _notes(study: Study, runs: Sequence[Wanted], records: Mapping[str, Record]) -> tuple[str, ...]:
    notes = []
    if study.injections:
        notes.append(
            "An injection is trained once (one seed) and shared by the arms that name it: their intervals do not "
            "cover how another injection seed would have turned out."
        )
    precisions = {r.result[key] for r in records.values() for key in ("device", "dtype") if key in r.result}
    if len(precisions) > 2:
        notes.append(f"The runs were computed in different places or precisions: {', '.join(sorted(precisions))}.")
    versions = {str(sorted(r.result["machine"]["packages"].items())) for r in records.values()}
    if len(versions) > 1:
        notes.append("The runs were made with different package versions.")
    return tuple(notes)
