"""Success per task as a picture: one row an arm, one column a task, each cell with its figure."""

import numpy as np
from matplotlib.figure import Figure as Canvas

from ablations.notation import SCREENING
from ablations.table import Table

CELL_WIDTH, CELL_HEIGHT = 1.0, 0.34  # inches
LONG = 10  # letters of a task's name from which on the names are turned, or they would run into each other
DARK = 0.6  # a share from here on is written in white


def tasks(table: Table) -> Canvas:
    """Shares of episodes that were won, in per cent, over all seeds of each played arm; the darker, the more."""
    played = [arm for arm in table.arms if arm.by_task]
    names = list(dict.fromkeys(task for arm in played for task in arm.by_task))
    shares_AT = np.array([[arm.by_task[task] for task in names] for arm in played])
    size = (3 + CELL_WIDTH * max(3, len(names)), 1.2 + CELL_HEIGHT * len(played))
    canvas = Canvas(figsize=size, layout="constrained")
    axes = canvas.add_subplot()
    axes.imshow(shares_AT, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares_AT):
        mark = SCREENING if played[row].screening else ""
        color = "white" if share >= DARK else "black"
        axes.text(column, row, f"{100 * share:.1f}{mark}", ha="center", va="center", fontsize=8, color=color)
    turned = {"rotation": 25, "ha": "left"} if max(map(len, names), default=0) >= LONG else {}
    axes.set_xticks(range(len(names)), names, **turned)
    axes.set_yticks(range(len(played)), [arm.name for arm in played])
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    title = f"Success per task (%) · {table.study}\n{SCREENING} fewer than 3 training seeds (screening)"
    axes.set_title(title, loc="left", fontsize=9)
    return canvas
