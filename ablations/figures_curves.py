"""Learning curves as a picture: one small panel an arm, on the same axes, with the other arms in grey."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from ablations.curves import Curve

COLUMNS = 4
PANEL = (2.4, 1.7)  # inches
SEEDS = ("#0b5fa5", "#b4530a", "#1a7f5a", "#7b3fa0", "#80650a")  # distinct to colour-blind readers; taken in turn
OTHERS = "#d5dbe2"


def learning(study: str, curves: Sequence[Curve]) -> Canvas:
    """The training loss of every curve over its steps; `curves` is not empty."""
    arms = list(dict.fromkeys(curve.arm for curve in curves))
    colors = {seed: SEEDS[i % len(SEEDS)] for i, seed in enumerate(sorted({curve.seed for curve in curves}))}
    lines = math.ceil(len(arms) / COLUMNS)
    size = (PANEL[0] * COLUMNS, 0.8 + PANEL[1] * lines)
    canvas = Canvas(figsize=size, layout="constrained")
    panels = list(canvas.subplots(lines, COLUMNS, sharex=True, sharey=True, squeeze=False).flat)
    for axes, arm in zip(panels, arms, strict=False):
        _panel(axes, arm, curves, colors)
    for axes in panels[len(arms) :]:
        axes.set_visible(False)
    canvas.suptitle(f"Training loss · {study}\neach point is the mean over {_windows(curves)}", fontsize=9)
    canvas.supxlabel("step", fontsize=8)
    legend = [Line2D([], [], color=color, label=f"seed {seed}") for seed, color in colors.items()]
    canvas.legend(handles=legend, loc="outside upper right", fontsize=7, frameon=False, ncols=len(legend))
    return canvas


def _panel(axes: Axes, arm: str, curves: Sequence[Curve], colors: dict[int, str]) -> None:
    for curve in curves:
        if curve.arm != arm:
            axes.plot(curve.steps, curve.losses, color=OTHERS, linewidth=0.6, zorder=1)
        else:
            axes.plot(curve.steps, curve.losses, color=colors[curve.seed], linewidth=1.3, zorder=2)
    axes.set_ylim(bottom=0)
    axes.set_title(arm, loc="left", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _windows(curves: Sequence[Curve]) -> str:
    windows = sorted({curve.window for curve in curves})
    return f"{' or '.join(map(str, windows))} {'step' if windows == [1] else 'steps'}"
