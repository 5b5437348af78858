"""One section of the report as a rich table that fits its width."""

from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from ablations.notation import ABSENT, SCREENING
from ablations.report.columns import FAILED, NOT_RUN, Column, Section
from ablations.report.whiskers import Axis, difference_axis, share_axis
from ablations.table import Figure
from ablations.verdict import BOTTLENECK

WIDEST_BAR, NARROWEST_BAR = 33, 11
WIDEST_WORDS = 24  # a longer verdict wraps
STYLES = {ABSENT: "dim", FAILED: "red", NOT_RUN: "yellow", BOTTLENECK: "bold green"}


@dataclass(frozen=True)
class Fitted:
    """The columns to show and the width of each. `inline`: those that may stand beneath the row's name do not."""

    columns: tuple[Column, ...]
    widths: tuple[int, ...]
    inline: bool

    def total(self, gap: int) -> int:
        return sum(self.widths) + gap * len(self.widths) - 1


def grid(section: Section, width: int) -> Grid:
    """Explanatory columns move beneath the row's name where they do not fit; the drawing takes what is left over."""
    fitted = _fitted(section, inline=True)
    if fitted.total(2) > width:
        fitted = _fitted(section, inline=False)
    gap = 2 if fitted.total(2) <= width else 1
    left = width - fitted.total(gap) - gap
    axis = _axis(section, min(WIDEST_BAR, left)) if left >= NARROWEST_BAR else None
    # The box itself sets columns one apart.
    shown = Grid(box=box.SIMPLE_HEAD, padding=(0, gap - 1, 0, 0), show_edge=False, header_style="bold")
    for column, wanted in zip(fitted.columns, fitted.widths, strict=True):
        fits = fitted.total(gap) <= width
        least, most = (wanted, wanted) if fits else (_title_width(column), None)
        shown.add_column(column.title, min_width=least, max_width=most, overflow="fold")
        if axis is not None and column is fitted.columns[0]:
            shown.add_column(axis.labels(), no_wrap=True)
    for row in section.rows:
        first, *others = (_cell(section, column, row, inline=fitted.inline) for column in fitted.columns)
        drawn = [axis.draw(section.drawn(row))] if axis is not None and section.drawn is not None else []
        shown.add_row(first, *drawn, *others)
    return shown


def _fitted(section: Section, *, inline: bool) -> Fitted:
    columns = tuple(column for column in section.columns if inline or not column.beneath)
    widths = []
    for column in columns:
        lines = "\n".join(_cell(section, column, row, inline=inline).plain for row in section.rows).split("\n")
        longest = max(len(line) for line in lines)
        widths.append(max(_title_width(column), min(longest, WIDEST_WORDS) if column.wordy else longest))
    return Fitted(columns, tuple(widths), inline)


def _title_width(column: Column) -> int:
    """A title may stand on two lines, but no word of it is broken."""
    return max(len(word) for word in column.title.split())


def _axis(section: Section, width: int) -> Axis | None:
    if section.drawn is None:
        return None
    return share_axis(width) if section.share else difference_axis([section.drawn(row) for row in section.rows], width)


def _cell(section: Section, column: Column, row: Any, *, inline: bool) -> Text:
    """A figure stands over its interval where a section draws none, since such a section has many of them."""
    text, value = column.text(row), column.read(row)
    if column is section.columns[0]:
        beneath = [other.text(row) for other in section.columns if other.beneath and not inline]
        return Text.assemble((text, "bold"), *((f"\n {line}", "dim") for line in beneath))
    if not isinstance(value, Figure):
        return Text(text, style=STYLES.get(text, ""))
    if section.drawn is None:
        head, interval = text.split(" [")
        text = f"{head}{SCREENING if value.screening else ''}\n[{interval.rstrip(SCREENING)}"
    clear = not section.share and (value.low > 0 or value.high < 0)
    return Text(text, style="bold" if clear else "")
