"""The table as GitHub Markdown."""

from ablations.report.columns import Section, facts, footnotes, sections
from ablations.table import Table


def markdown(table: Table) -> str:
    blocks = [
        f"# {_escaped(table.study)}: modality bottleneck",
        f"*{_escaped(table.question)}*",
        f"**{_escaped(table.verdict)}**",
        " · ".join(f"{name}: {_escaped(value)}" for name, value in facts(table)),
        *(_section(section) for section in sections(table)),
        "\n".join(f"- {_escaped(note)}" for note in footnotes(table)),
    ]
    return "\n\n".join(blocks) + "\n"


def _section(section: Section) -> str:
    titles = [column.title for column in section.columns]
    rows = [titles, ["---"] * len(titles), *section.cells()]
    lines = [f"## {section.title}", ""]
    lines += [f"| {' | '.join(cell if cell == '---' else _escaped(cell) for cell in row)} |" for row in rows]
    if legend := section.legend():
        lines += ["", "; ".join(f"**{title}**: {_escaped(meaning)}" for title, meaning in legend.items()) + "."]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line of a table."""
    for mark in "\\`*_|<[":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
