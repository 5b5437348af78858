"""A study as one HTML page that stands alone: no network, no framework, nothing computed but from what is recorded.

Everything that comes from a study or a record is escaped by the template; scripts and styles are allowed by their
hashes alone, so that text which slipped through could still not run.
"""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ablations.bottleneck import bottleneck
from ablations.curves import Curve, curves
from ablations.gather import gather
from ablations.halving.halve import halved, runs_of
from ablations.notation import plural
from ablations.published import with_published
from ablations.report.columns import READING, facts, failures, footnotes
from ablations.report.page_curves import curves_data, panels
from ablations.report.page_films import Films, films
from ablations.report.page_plots import forest, recoveries, success
from ablations.report.page_runs import ArmView, arm_views, progress
from ablations.report.page_tables import injections_sheets, other_sheets, published_sheets, slots_sheet, tasks_sheet
from ablations.study import Study
from ablations.table import Table
from ablations.verdict import holds
from workbench.record import find

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Material:
    """All that the page shows of a study."""

    table: Table
    curves: tuple[Curve, ...]
    films: Films
    arms: tuple[ArmView, ...]
    progress: str


def material(study: Study, root: Path, *, published: bool = False) -> Material:
    """What is recorded of `study` under `root`, and beside it what papers `published`; nothing is run."""
    runs = runs_of(study, halved(study, root))
    records = {run.id: record for run in runs if (record := find(root, run.plan)) is not None}
    ours = bottleneck(gather(study, root))
    table = with_published(ours) if published else ours
    return Material(
        table=table,
        curves=curves(study, root),
        films=films((run, records[run.id]) for run in runs if run.id in records),
        arms=arm_views(study, runs, records, table=table),
        progress=progress(runs, records),
    )


def page(shown: Material) -> str:
    """The whole document; the same material gives the same text."""
    shown_elsewhere = (*READING, *failures(shown.table), *_theirs(shown.table))
    style, script = (FOLDER / name for name in ("page.css", "page.js"))
    table = shown.table
    return (
        _environment()
        .get_template("page.html")
        .render(
            table=table,
            shown=shown,
            headline=_headline(table),
            facts=facts(table),
            failures=failures(table),
            reading=READING,
            notes=[note for note in footnotes(table) if note not in shown_elsewhere],
            slots=slots_sheet(table),
            injections=injections_sheets(table),
            sheets=other_sheets(table),
            tasks=tasks_sheet(table),
            published=published_sheets(table),
            theirs=_theirs(table),
            forest=forest(table),
            success=success(table),
            recovery=recoveries(table),
            panels=panels(shown.curves),
            data=_data(shown),
            style=style.read_text(),
            script=script.read_text(),
            style_hash=_hash(style.read_text()),
            script_hash=_hash(script.read_text()),
        )
    )


def _environment() -> Environment:
    """Everything is escaped, and a name that the page lacks is an error."""
    files = FileSystemLoader(FOLDER)
    return Environment(loader=files, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _headline(table: Table) -> str:
    """The verdict in a few words; the sentence beneath it says on what it rests."""
    if not table.slots:
        return f"{sum(map(holds, table.contrasts))} of {plural(len(table.contrasts), 'declared contrast')} shown"
    return f"{table.bottleneck.capitalize()} is the bottleneck" if table.bottleneck else "Undetermined"


def _theirs(table: Table) -> tuple[str, ...]:
    return table.published.notes if table.published else ()


def _data(shown: Material) -> dict[str, Any]:
    return {"curves": curves_data(shown.curves), "films": [film.as_json() for film in shown.films.shown]}


def _hash(text: str) -> str:
    """As a content security policy names an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
