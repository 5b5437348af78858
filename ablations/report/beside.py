"""The papers' figures as lines beside ours: grouped by the column of ours that they stand beside, ours first."""

from collections.abc import Sequence
from dataclasses import dataclass

from ablations.notation import ABSENT, SCREENING, count, points
from ablations.statistics.interval import ENOUGH_SEEDS
from ablations.table import Figure, PublishedRow, Table

THEIRS = "†"  # before everything that a paper published
UNSTATED = "?"


@dataclass(frozen=True)
class Line:
    """One difference: ours, or one of theirs. `shown` is a figure, or a number where no interval can be computed."""

    whose: str
    benchmark: str
    shown: Figure | float | None
    text: str
    trials: str
    about: str

    @property
    def figure(self) -> Figure | None:
        return self.shown if isinstance(self.shown, Figure) else None


def beside(table: Table) -> tuple[tuple[str, tuple[Line, ...]], ...]:
    """For each column of ours that somebody published figures for: its title, our line, and theirs."""
    groups: dict[str, list[PublishedRow]] = {}
    for row in table.published.rows if table.published else ():
        name = f"{row.column} of {row.slot}" if row.slot else row.column
        groups.setdefault(name, []).append(row)
    return tuple((f"{THEIRS} Published elsewhere: {name}", _lines(table, rows)) for name, rows in groups.items())


def _lines(table: Table, rows: Sequence[PublishedRow]) -> tuple[Line, ...]:
    ours = rows[0].ours
    trials = f"{ours.seeds} × {table.episodes}" if ours else ABSENT
    first = Line(f"this study: {table.backbone}", table.benchmark, ours, points(ours), trials, "measured here")
    return (first, *map(_theirs, rows))


def _theirs(row: PublishedRow) -> Line:
    a, b = row.figures
    return Line(
        whose=f"{THEIRS} {row.paper}: {row.model}",
        benchmark=row.benchmark,
        shown=row.figure or row.difference,
        text=_difference(row),
        trials=f"{row.seeds or UNSTATED} × {count(row.episodes) if row.episodes else UNSTATED}",
        about=f"{a:g} − {b:g}" + (f"; {row.unlike}" if row.unlike else ""),
    )


def _difference(row: PublishedRow) -> str:
    """As differences of ours are written; `[–]` where no interval can be computed."""
    if row.figure is not None:
        return points(row.figure)
    number = f"{row.difference:+.2f} tasks" if row.metric == "chain length" else f"{100 * row.difference:+.1f}"
    mark = SCREENING if (row.seeds or 1) < ENOUGH_SEEDS else ""
    return f"{number} [{ABSENT}]{mark}".replace("-", "−")
