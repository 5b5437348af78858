"""The table as tidy CSV: one line per figure, numbers unrounded, for a spreadsheet or a data frame."""

import csv
import io
from typing import Any

from ablations.report.columns import sections
from ablations.table import Figure, Table

HEADER = ("study", "section", "row", "column", "value", "low", "high", "seeds", "text")


def table_csv(table: Table) -> str:
    """`value`, `low` and `high` are fractions; `text` is what the other formats print."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for section in sections(table):
        first, *others = section.columns
        for row in section.rows:
            for column in others:
                name = (table.study, section.title, first.text(row), column.title)
                writer.writerow((*name, *_numbers(column.read(row)), column.text(row)))
    for note in table.notes:
        writer.writerow((table.study, "Note", "", "", "", "", "", "", note))
    writer.writerow((table.study, "Verdict", "", "", "", "", "", "", table.verdict))
    return out.getvalue()


def _numbers(value: Any) -> tuple[float | str, ...]:
    """Value, low, high and seeds; empty where a cell holds no number."""
    if isinstance(value, Figure):
        return value.value, value.low, value.high, value.seeds
    return (value if isinstance(value, int | float) else "", "", "", "")
