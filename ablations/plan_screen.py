"""What `workbench plan` says: the runs of a study, and what their training needs and executes.

Torch is imported once the study has been read: a mistake in it is refused at once.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table

from ablations.notation import ABSENT
from ablations.study import Wanted, wanted
from ablations.study_file import read_study, study_path
from workbench.plan import Evaluate, Finetune, Inject, actions_of
from workbench.record import find
from workbench.screens.console import console

if TYPE_CHECKING:
    from workbench.training.flops import Work


def show_plan(
    name: str,
    root: Path,
    format: Literal["terminal", "json"],
    changes: Sequence[str] = (),
    *,
    flops: bool = False,
) -> None:
    """The runs of a study; with `flops` what their training needs and executes: a step of each arm is made."""
    study = read_study(name, changes, planning=True)
    runs = wanted(study)
    rows = _rows(runs, root)
    work = _work(runs) if flops else []
    if flops:
        rows = [row | _as_row(one) for row, one in zip(rows, work, strict=True)]
    if format == "json":
        told = {"study": study.name, "file": str(study_path(name)), "root": str(root), "runs": rows}
        print(json.dumps(told, indent=1))
        return
    _print_rows(rows, title=f"{study.name}: {sum(r['recorded'] for r in rows)} of {len(rows)} runs recorded in {root}")
    if flops:
        _print_work(runs, work, title=f"{study.name}: operations of training")


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
        table.add_row(row["id"], row["arm"], str(row["seed"]), row["kind"], f"{row['trainable_parameters']:,}", state)
    console.print(table)


def _work(runs: Sequence[Wanted]) -> "list[Work | None]":
    from ablations.estimate import work_of

    return work_of(runs)


def _as_row(work: "Work | None") -> dict[str, Any]:
    """What a training needs and executes, as `plan` writes it; None where nothing is known of it."""
    figures = (None, None, None) if work is None else (work.required, work.executed, work.waste)
    return dict(zip(("required_flops", "executed_flops", "waste"), figures, strict=True))


def _print_work(runs: Sequence[Wanted], work: "Sequence[Work | None]", *, title: str) -> None:
    """Operations of each arm's training and of all of it: the least that is needed, what is executed."""
    from workbench.training.flops import Work

    arms: dict[str, Work] = {}
    for run, one in zip(runs, work, strict=True):
        if one is not None:
            arms[run.arm] = arms.get(run.arm, Work(0, 0)) + one
    table = Table(title=title)
    for column in ("arm", "required TFLOP", "executed TFLOP", "waste"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for arm, one in {**arms, "all of it": sum(arms.values(), Work(0, 0))}.items():
        waste = f"{one.waste:.3f}" if one.required else ABSENT
        table.add_row(arm, f"{one.required / 1e12:.4g}", f"{one.executed / 1e12:.4g}", waste)
    console.print(table)
