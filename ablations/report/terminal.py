"""The table on a screen: readable at 80 columns, at home at 100 and more, complete without colour."""

from collections.abc import Iterable, Iterator

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from ablations.report.columns import Section, facts, failures, footnotes, sections
from ablations.report.grid import grid
from ablations.table import Table


def print_table(table: Table, console: Console) -> None:
    console.print(Report(table))


class Report:
    """A renderable that fits itself to the width that it is given."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self.table
        yield Text()
        yield Text(f"{table.study} · modality bottleneck table", style="bold cyan")
        yield Text(table.question, style="italic")
        yield Text(" · ".join(f"{name} {value}" for name, value in facts(table)), style="dim")
        yield from drawn(sections(table), options.max_width)
        yield Text()
        failed = failures(table)
        for note in footnotes(table):
            yield small(note, style="red" if note in failed else "dim")
        yield Text()
        yield _verdict(table)


def drawn(sections: Iterable[Section], width: int) -> Iterator[RenderableType]:
    """Each section under its title; a column's meaning is said where it first stands, and where it is another one."""
    explained: dict[str, str] = {}
    for section in sections:
        yield Text()
        yield Text(section.title, style="bold cyan")
        yield grid(section, width)
        if new := {title: meaning for title, meaning in section.legend().items() if explained.get(title) != meaning}:
            yield small(" · ".join(f"{title}: {meaning}" for title, meaning in new.items()))
        explained |= new


def small(text: str, *, style: str = "dim") -> Padding:
    return Padding(Text(text, style=style), (0, 2))


def _verdict(table: Table) -> Panel:
    proven = table.bottleneck is not None and not table.screening
    return Panel(Text(table.verdict), title="Verdict", title_align="left", border_style="green" if proven else "yellow")
