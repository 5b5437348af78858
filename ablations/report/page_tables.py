"""The tables of the page as values: what each cell says, and by what its column is sorted."""

from dataclasses import dataclass
from typing import Any

from ablations.notation import ABSENT, SCREENING, percent
from ablations.report.columns import DROPPED, EVIDENCE, FAILED, FREEZING, NOT_RUN, PUBLISHED, Column, Section, sections
from ablations.table import ArmRow, Figure, Table
from ablations.verdict import BOTTLENECK

KINDS = {ABSENT: "absent", FAILED: "failed", NOT_RUN: "absent", DROPPED: "absent", BOTTLENECK: "clear"}


@dataclass(frozen=True)
class Cell:
    """`order` sorts the column: a number, a text, or None, which stays last. `share` (0 … 1) is drawn as a bar."""

    text: str
    beneath: str = ""
    order: float | str | None = None
    kind: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Sheet:
    """One table of the page. The first cell of a row is its header; `legend` says what a column means."""

    id: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    legend: tuple[tuple[str, str], ...]

    def words(self, column: int) -> bool:
        """Whether a column holds words, which are read from the left and may wrap."""
        return any(isinstance(row[column].order, str) for row in self.rows)


def slots_sheet(table: Table) -> Sheet:
    """The modality bottleneck table: a row a slot, with the cost of freezing it and all other evidence."""
    section = Section("The modality bottleneck, slot by slot", (*FREEZING, *EVIDENCE[1:]), table.slots)
    return sheet("slots", section)


def injections_sheets(table: Table) -> tuple[Sheet, ...]:
    """A row an injection: its gain, then what else is known of it; none where nothing was injected."""
    found = [section for section in sections(table) if section.rows is table.injections]
    return tuple(sheet(f"injected-{number}", section) for number, section in enumerate(found, start=1))


def other_sheets(table: Table) -> dict[str, Sheet]:
    """The other tables of the report, by the attribute of the table that they show."""
    named = {
        "whole": table.whole,
        "shares": table.shares,
        "contrasts": table.contrasts,
        "exploratory": table.exploratory,
        "arms": table.arms,
    }
    return {
        name: sheet(name, section)
        for name, rows in named.items()
        for section in sections(table)
        if section.rows is rows and rows
    }


def published_sheets(table: Table) -> tuple[Sheet, ...]:
    """What papers published beside a column of ours, a table for each; none where the table has nothing of theirs."""
    theirs = [section for section in sections(table) if section.columns is PUBLISHED]
    return tuple(sheet(f"published-{number}", section) for number, section in enumerate(theirs, start=1))


def tasks_sheet(table: Table) -> Sheet | None:
    """Success of every played arm on each task; None where nothing was played."""
    played = [arm for arm in table.arms if arm.by_task]
    if not played:
        return None
    tasks = tuple(dict.fromkeys(task for arm in played for task in arm.by_task))
    rows = tuple((Cell(arm.name, order=arm.name), *(_task(arm, task) for task in tasks)) for arm in played)
    caption = "Success of each arm on each task, in %, over all its training seeds, with its 95 % interval"
    return Sheet("tasks", caption, ("arm", *tasks), rows, ())


def sheet(id: str, section: Section) -> Sheet:
    rows = tuple(tuple(_cell(section, column, row) for column in section.columns) for row in section.rows)
    heads = tuple(column.title for column in section.columns)
    return Sheet(id, section.title, heads, rows, tuple(section.legend().items()))


def _cell(section: Section, column: Column, row: Any) -> Cell:
    """A figure stands over its interval, bold where the interval of a difference leaves 0 out."""
    text, value = column.text(row), column.read(row)
    if not isinstance(value, Figure):
        return Cell(text, order=_order(value, text), kind=KINDS.get(text, ""))
    head, interval = text.split(" [")
    mark = SCREENING if value.screening else ""
    beneath = f"[{interval}".replace(f"]{SCREENING}", "]")
    rate = section.share or not head.startswith(("+", "−"))
    kind = "clear" if not rate and (value.low > 0 or value.high < 0) else ""
    return Cell(f"{head}{mark}", beneath, value.value, kind)


def _order(value: Any, text: str) -> float | str | None:
    """What is not there has no order."""
    if text == ABSENT or value is None:
        return None
    return value if isinstance(value, int | float) else text


def _task(arm: ArmRow, task: str) -> Cell:
    """The bar is the share, the interval that of its episodes."""
    share, (low, high) = arm.by_task[task], arm.by_task_ci95[task]
    text, interval = percent(Figure(value=share, low=low, high=high, seeds=arm.seeds)).split(" [")
    mark = SCREENING if arm.screening else ""
    return Cell(f"{text}{mark}", f"[{interval}".removesuffix(SCREENING), order=share, share=share)
