"""The formats that are plain text, by name."""

from collections.abc import Callable

from ablations.report.latex import latex
from ablations.report.markdown import markdown
from ablations.report.table_csv import table_csv
from ablations.table import Table

WRITERS: dict[str, Callable[[Table], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": table_csv,
    "json": Table.as_json,
}
