"""What a person sees of retention probes: one encoder before and after, or several runs side by side."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from workbench.probes.retention import Retention
from workbench.probes.sheet import Row, Sheet, common_data, find_runs, probe_runs
from workbench.publish_encoder import RETENTION
from workbench.record import write_json
from workbench.screens.console import console, stage, told_aside


def show_probes(ids: Sequence[str], root: Path, episodes: int, format: Literal["terminal", "json"]) -> None:
    """Probe finished runs, print what was found, and leave each run's figures beside its weights."""
    records = find_runs(root, ids)
    data = common_data(records, episodes)
    with told_aside(format == "json"), stage("Retention", "encoders before and after, on held-out episodes") as tell:
        sheet = probe_runs(records, root, data, episodes, tell)
    for record in records:
        write_json(record.folder / RETENTION, sheet.retained[record.id].figures())
    if format == "json":
        print(json.dumps(_plain(sheet) | {"data": data.model_dump(mode="json")}, indent=1))
        return
    if len(records) == 1:
        _show_one(sheet)
    else:
        console.print(_side_by_side(sheet))
        _show_ranks(sheet)
    parts = sheet.material.parts
    fitted, held = (sheet.material.count(part) for part in (parts.training_N, parts.held_out_N))
    console.print(
        f"Linear reads (R²) are fitted to {fitted} episodes and scored on {held} others; 0 is what a constant reads.",
        style="dim",
    )
    if any(kept.before.pointing is None for kept in sheet.retained.values()):
        console.print("No pointing: it takes a backbone's own encoder, and data with privileged columns.", style="dim")


def _show_one(sheet: Sheet) -> None:
    (id, kept), (before, after) = next(iter(sheet.retained.items())), sheet.rows
    layers = _table(f"{id} and {before.name}", ("layer", "CKA", "cosine", "effective rank before", "after"))
    for layer in kept.layers:
        ranks = (f"{layer.rank_before:.1f}", f"{layer.rank_after:.1f}")
        layers.add_row(layer.name, f"{layer.cka:.3f}", f"{layer.cosine:.3f}", *ranks)
    probes = _table("What the tokens tell", ("probe", "before", "after", "change", "95 % interval"))
    for name in kept.before.readings:
        low, high = kept.interval(name)
        probes.add_row(f"{name}, R²", *_figures(before, after, name), f"[{low:+.3f}, {high:+.3f}]".replace("[", r"\["))
    if "pointing" in before.values:
        probes.add_row("pointing, exact", *_figures(before, after, "pointing"), "")
    console.print(layers, probes)
    for row in sheet.rows:
        if row.success:
            which = "its own policy" if row.kind == "finetune" else f"{row.success.policies} policies with it frozen"
            console.print(f"success of {which}, {row.name}: {100 * row.success.value:.1f} %", highlight=False)


def _figures(before: Row, after: Row, name: str) -> tuple[str, str, str]:
    was, now = before.values[name], after.values[name]
    return f"{was:.3f}", f"{now:.3f}", f"{now - was:+.3f}"


def _side_by_side(sheet: Sheet) -> Table:
    columns = list(dict.fromkeys(column for row in sheet.rows for column in row.values))
    table = _table("Retention", ("encoder", *columns, "success"))
    table.padding = (0, 0, 0, 0)
    for row in sheet.rows:
        shown = (_shown(name, row.values[name]) if name in row.values else "–" for name in columns)
        success = f"{100 * row.success.value:.1f} %" if row.success else "–"
        table.add_row(Text.assemble(row.name, "\n", (row.kind, "dim")), *shown, success)
    return table


def _shown(column: str, value: float) -> str:
    return f"{value:.1f}" if column == "rank" else f"{value:.2f}"


def _show_ranks(sheet: Sheet) -> None:
    if sheet.unranked:
        console.print(f"No rank correlation with success: {sheet.unranked}.")
        return
    table = _table("Rank correlation with success (Spearman)", ("measure", "rho", "95 % interval", "p", "runs"))
    for name, found in sheet.correlations.items():
        interval = rf"\[{found.low:+.2f}, {found.high:+.2f}]"
        table.add_row(name, f"{found.rho:+.2f}", interval, f"{found.p:.3f}", str(found.runs))
    console.print(table)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=number == 0)
    return table


def _plain(sheet: Sheet) -> dict[str, Any]:
    parts = sheet.material.parts
    return {
        "runs": {id: _retained(kept) for id, kept in sheet.retained.items()},
        "rows": [asdict(row) for row in sheet.rows],
        "correlations": {name: asdict(found) for name, found in sheet.correlations.items()},
        "no_correlations_because": sheet.unranked,
        "training_episodes": sheet.material.count(parts.training_N),
        "held_out_episodes": sheet.material.count(parts.held_out_N),
    }


def _retained(kept: Retention) -> dict[str, Any]:
    probes = {}
    for name, reading in kept.before.readings.items():
        was, now = reading.r2, kept.after.readings[name].r2
        probes[name] = {"before": was, "after": now, "change": now - was, "ci95": list(kept.interval(name))}
    pointing = {"before": kept.before.pointing, "after": kept.after.pointing}
    return {"layers": [asdict(layer) for layer in kept.layers], "probes": probes, "pointing": pointing}
