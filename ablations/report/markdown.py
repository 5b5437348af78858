"""The table as GitHub Markdown."""

from ablations.report.columns import Section, facts, footnotes, sections
from ablations.table import Table


def markdown(table: Table) -> str:
    blocks = [
        f"# {escaped(table.study)}: modality bottleneck",
        f"*{escaped(table.question)}*",
        f"**{escaped(table.verdict)}**",
        " · ".join(f"{name}: {escaped(value)}" for name, value in facts(table)),
        *(block(section) for section in sections(table)),
        "\n".join(f"- {escaped(note)}" for note in footnotes(table)),
    ]
    return "\n\n".join(blocks) + "\n"


def block(section: Section) -> str:
    """One section under its heading, with its legend."""
    titles = [column.title for column in section.columns]
    rows = [titles, ["---"] * len(titles), *section.cells()]
    lines = [f"## {section.title}", ""]
    lines += [f"| {' | '.join(cell if cell == '---' else escaped(cell) for cell in row)} |" for row in rows]
    if legend := section.legend():
        lines += ["", "; ".join(f"**{title}**: {escaped(meaning)}" for title, meaning in legend.items()) + "."]
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line of a table."""
    for mark in "\\`*_|<[":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
