"""A comparison of encoders on a screen and as Markdown."""

from collections.abc import Callable

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from ablations.compare import Comparison
from ablations.notation import count
from ablations.report.columns import Section, column, facts, failures, footnotes, sections
from ablations.report.markdown import block, escaped
from ablations.report.terminal import drawn, small

KEPT = ("Declared contrasts", "Arms")
"""Sections of the study's table; the others speak of slots that a comparison does not freeze."""


def comparison_sections(comparison: Comparison) -> tuple[Section, ...]:
    encoders = Section("Encoders", ENCODERS, comparison.encoders)
    return (encoders, *(section for section in sections(comparison.table) if section.title in KEPT))


def print_comparison(comparison: Comparison, console: Console) -> None:
    console.print(ComparisonReport(comparison))


class ComparisonReport:
    """A renderable that fits itself to the width that it is given."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self.comparison.table
        yield Text()
        yield Text(f"{table.study} · comparison of encoders", style="bold cyan")
        yield Text(table.question, style="italic")
        yield Text(" · ".join(f"{name} {value}" for name, value in facts(table)), style="dim")
        yield from drawn(comparison_sections(self.comparison), options.max_width)
        yield Text()
        failed = failures(table)
        for note in _notes(self.comparison):
            yield small(note, style="red" if note in failed else "dim")


def comparison_markdown(comparison: Comparison) -> str:
    table = comparison.table
    blocks = [
        f"# {escaped(table.study)}: comparison of encoders",
        f"*{escaped(table.question)}*",
        " · ".join(f"{name}: {escaped(value)}" for name, value in facts(table)),
        *(block(section) for section in comparison_sections(comparison)),
        "\n".join(f"- {escaped(note)}" for note in _notes(comparison)),
    ]
    return "\n\n".join(blocks) + "\n"


def _notes(comparison: Comparison) -> tuple[str, ...]:
    return (*footnotes(comparison.table), f"Images a second: {comparison.measured}.")


def _operations(flops: int) -> str:
    """`12.2 G`: billions, three figures."""
    return f"{flops / 1e9:.3g} G"


ENCODERS = (
    column("encoder", "name"),
    column("parameters", "parameters", count),
    column("FLOPs", "flops", _operations, meaning="of one image; a multiplication and an addition are two"),
    column("px", "side", meaning="edge of the image that the encoder sees"),
    column("tokens", "tokens", meaning="that the encoder gives; the adapter gives as many as the native projector"),
    column("width", "width"),
    column("images/s", "images_per_second", "{:.3g}".format, meaning="the encoder alone"),
)

WRITERS: dict[str, Callable[[Comparison], str]] = {"markdown": comparison_markdown, "json": Comparison.as_json}
