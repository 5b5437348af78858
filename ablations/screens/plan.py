"""What `workbench plan` says: the runs of a study, and what their training needs and executes.

Torch is imported once the study has been read: a mistake in it is refused at once.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table

from ablations.halving.halve import halved, runs_of
from ablations.halving.words import planned
from ablations.notation import ABSENT
from ablations.runs import Wanted
from ablations.study_file import read_study, study_path
from workbench.plan import Evaluate, Finetune, Inject
from workbench.recipes import actions_of
from workbench.record import find
from workbench.screens.console import console

if TYPE_CHECKING:
    from ablations.estimate import Effort


def show_plan(
    name: str,
    root: Path,
    format: Literal["terminal", "json"],
    changes: Sequence[str] = (),
    *,
    flops: bool = False,
) -> None:
    """The runs of a study; with `flops` what their training computes and holds: a step of each arm is outlined."""
    study = read_study(name, changes, planning=True)
    halving = halved(study, root)
    runs = runs_of(study, halving)
    rows = _rows(runs, root)
    efforts = _efforts(runs) if flops else []
    if flops:
        rows = [row | _as_row(one) for row, one in zip(rows, efforts, strict=True)]
    if format == "json":
        told = {"study": study.name, "file": str(study_path(name)), "root": str(root), "runs": rows}
        told |= {"screen": planned(study, halving)} if study.screen else {}
        print(json.dumps(told, indent=1))
        return
    _print_rows(rows, title=f"{study.name}: {sum(r['recorded'] for r in rows)} of {len(rows)} runs recorded in {root}")
    for sentence in planned(study, halving):
        console.print(sentence, markup=False)
    if flops:
        _print_efforts(runs, efforts, title=f"{study.name}: operations and memory of training")


def _rows(runs: Sequence[Wanted], root: Path) -> list[dict[str, Any]]:
    """What `plan` says of each run; parameters are counted once for each model."""
    from workbench.count import trainable_parameters

    rows = list[dict[str, Any]]()
    counts: dict[str, int] = {}
    models = {run.id: run.plan for run in runs if isinstance(run.plan, Finetune | Inject)}
    for run in runs:
        record = find(root, run.plan)
        model = models.get(run.plan.of if isinstance(run.plan, Evaluate) else run.id)
        key = model.spec.model_dump_json() if model else ""
        if key not in counts:
            counts[key] = (
                trainable_parameters(model.spec, chunk=model.budget.chunk, actions=actions_of(model.data))
                if model
                else 0
            )
        rows.append(
            {
                "id": run.id,
                "arm": run.arm,
                "rung": run.rung or None,
                "seed": run.seed,
                "kind": run.plan.kind,
                "trainable_parameters": counts[key],
                "recorded": record is not None,
                "error": record.error if record else None,
            }
        )
    return rows


def _print_rows(rows: Sequence[dict[str, Any]], *, title: str) -> None:
    table = Table(title=title)
    for column in ("run", "arm", "seed", "kind", "trainable", "recorded"):
        table.add_column(column, justify="right" if column in ("seed", "trainable") else "left")
    for row in rows:
        state = "failed" if row["error"] else "yes" if row["recorded"] else "–"
        arm = f"{row['arm']} ({row['rung']})" if row["rung"] else row["arm"]
        table.add_row(row["id"], arm, str(row["seed"]), row["kind"], f"{row['trainable_parameters']:,}", state)
    console.print(table)


def _efforts(runs: Sequence[Wanted]) -> "list[Effort | None]":
    from ablations.estimate import efforts

    return efforts(runs)


def _as_row(effort: "Effort | None") -> dict[str, Any]:
    """What a training takes, as `plan` writes it; None where nothing is known of it."""
    row: dict[str, Any] = dict.fromkeys(
        ("required_flops", "executed_flops", "waste", "training_peak_bytes", "training_bytes_of")
    )
    if effort is not None:
        work = effort.work
        row |= {"required_flops": work.required, "executed_flops": work.executed, "waste": work.waste}
        row |= effort.memory.as_json() if effort.memory else {}
    return row


def _print_efforts(runs: Sequence[Wanted], efforts: "Sequence[Effort | None]", *, title: str) -> None:
    """Of each arm the operations of all its trainings, the least that is needed and what is executed; then the memory
    of its largest one."""
    from workbench.training.flops import Work

    arms: dict[str, list[Effort]] = {}
    for run, effort in zip(runs, efforts, strict=True):
        if effort is not None:
            arms.setdefault(run.arm, []).append(effort)
    table = Table(title=title)
    for column in ("arm", "required TFLOP", "executed TFLOP", "waste", "memory MB"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for arm, own in {**arms, "all of it": [effort for effort in efforts if effort is not None]}.items():
        work = sum((effort.work for effort in own), Work(0, 0))
        waste = f"{work.waste:.3f}" if work.required else ABSENT
        peaks = [effort.memory.peak for effort in own if effort.memory]
        memory = f"{max(peaks) / 1e6:,.1f}" if peaks else ABSENT
        table.add_row(arm, f"{work.required / 1e12:.4g}", f"{work.executed / 1e12:.4g}", waste, memory)
    console.print(table)
