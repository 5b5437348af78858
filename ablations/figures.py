"""The pictures of a study, drawn without a display: forest plots here, tasks and learning curves in their own files."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from ablations.curves import Curve
from ablations.figures_curves import learning
from ablations.figures_tasks import tasks
from ablations.notation import percent, points
from ablations.report.columns import FAILED, NOT_RUN
from ablations.table import Figure, Table

CLEAR, UNCLEAR, ABSENT = "#0b5fa5", "#8a8f98", "#b3261e"  # distinct in greyscale, and to colour-blind readers
ROW = 0.34  # inches
Rows = Sequence[tuple[str, Figure | None, str]]  # name, figure, what to write beside it


UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": None}
"""Formats, and what keeps the time of drawing out of each."""


def write_figures(table: Table, folder: Path, *, curves: Sequence[Curve] = ()) -> tuple[Path, ...]:
    """Each picture as SVG, PDF and PNG in `folder`, which exists; the same table and curves give the same bytes.

    What was not played, not recovered or not trained has no picture.
    """
    pictures = {"success": success(table)}
    if table.slots or table.contrasts:
        pictures["contrasts"] = contrasts(table)
    if any(arm.by_task for arm in table.arms):
        pictures["tasks"] = tasks(table)
    if any(row.recovery for row in table.injections):
        pictures["recovery"] = recovery(table)
    if curves:
        pictures["curves"] = learning(table.study, curves)
    written = []
    with mpl.rc_context({"svg.hashsalt": "workbench", "svg.fonttype": "none", "pdf.fonttype": 42}):
        for name, picture in pictures.items():
            picture.draw_without_rendering()
            picture.set_layout_engine("none")  # laid out once, not again for each format
            for kind, metadata in UNDATED.items():
                path = folder / f"{name}.{kind}"
                picture.savefig(path, dpi=160, metadata=metadata)
                written.append(path)
    return tuple(written)


def contrasts(table: Table) -> Canvas:
    """Freeze costs, then declared contrasts, in points with 95 % intervals; coloured where 0 is left out."""
    slots: Rows = [(f"freeze cost: {row.slot}", row.freeze_cost, points(row.freeze_cost)) for row in table.slots]
    declared: Rows = [(row.name, row.figure, points(row.figure)) for row in table.contrasts]
    about = {"what freezing each slot costs": slots, "the declared contrasts": declared}
    title = ", and ".join(words for words, rows in about.items() if rows)
    canvas, axes = _canvas(table, [*slots, *declared], title.capitalize())
    axes.set_xlabel("difference in success (percentage points), 95 % interval; blue leaves 0 out")
    axes.axvline(0, color="black", linewidth=0.8)
    if slots and declared:
        axes.axhline(len(slots) - 0.5, color="black", linewidth=0.5, linestyle=":")
    return canvas


def success(table: Table) -> Canvas:
    """Success of each arm in per cent with its 95 % interval, and each seed as a small dot."""
    rows: Rows = [
        (arm.name, arm.figure, percent(arm.figure) if arm.figure else FAILED if arm.failed else NOT_RUN)
        for arm in table.arms
    ]
    canvas, axes = _canvas(table, rows, "Success of each arm")
    axes.set_xlabel("success (%), 95 % interval; small dots are training seeds")
    for place, arm in enumerate(table.arms):
        for share in arm.by_seed.values():
            axes.plot(100 * share, place, "o", color="black", markersize=2.5, alpha=0.6, zorder=3)
    axes.set_xlim(-1, 101)
    return canvas


def recovery(table: Table) -> Canvas:
    """How much of its slot's freeze cost each injection wins back, in per cent of it, where it is defined."""
    found = [(row, row.recovery) for row in table.injections if row.recovery is not None]
    rows: Rows = [(f"{row.name} ({row.slot})", figure, f"{percent(figure)} %") for row, figure in found]
    canvas, axes = _canvas(table, rows, "Recovery: injection gain in % of the freeze cost")
    for place, (row, figure) in enumerate(found):
        axes.barh(place, 100 * figure.value, height=0.5, color=UNCLEAR if row.control else CLEAR, alpha=0.25)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.axvline(100, color="black", linewidth=0.8, linestyle=":")
    axes.set_xlabel("recovery (%), 95 % interval; dotted: all of the cost is won back; grey bars: negative controls")
    return canvas


def _canvas(table: Table, rows: Rows, title: str) -> tuple[Canvas, Axes]:
    """One row a figure, read from the top; what is written beside it stands right of the axes."""
    canvas = Canvas(figsize=(8, 1.6 + ROW * max(1, len(rows))), layout="constrained")
    axes = canvas.add_subplot()
    for place, (_, figure, text) in enumerate(rows):
        if figure is not None:
            _whisker(axes, figure, place)
        color = ABSENT if text == FAILED else "black" if figure else UNCLEAR
        axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8, color=color)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", color="#e3e5e8", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    model = f"backbone {table.backbone}, head {table.head}, {table.benchmark}, {table.episodes} episodes"
    hollow = "hollow, and *: fewer than 3 training seeds (screening)"
    axes.set_title(f"{title} · {table.study}\n{model}\n{hollow}", loc="left", fontsize=9)
    return canvas, axes


def _whisker(axes: Axes, figure: Figure, place: int) -> None:
    clear = figure.low > 0 or figure.high < 0
    color = CLEAR if clear else UNCLEAR
    axes.plot([100 * figure.low, 100 * figure.high], [place, place], color=color, linewidth=2, solid_capstyle="butt")
    face = "white" if figure.screening else color
    axes.plot(100 * figure.value, place, "o", color=color, markerfacecolor=face, markersize=6, zorder=4)
