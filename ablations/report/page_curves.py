"""Learning curves of the page: one small panel an arm, all on the same axes, so that arms can be compared."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ablations.curves import Curve

HUES = 5
"""Colours that seeds take in turn; the style sheet has as many."""


@dataclass(frozen=True)
class Line:
    """A curve as the points of an SVG polyline in a square of 100 × 100, y downwards."""

    seed: int
    hue: int
    points: str


@dataclass(frozen=True)
class Panel:
    """One arm's curves; `said` tells them to who cannot see them."""

    arm: str
    lines: tuple[Line, ...]
    said: str


@dataclass(frozen=True)
class Panels:
    """`top` is the loss at the upper end of the axis, whose lower end is 0; `last` the steps at its right."""

    top: float
    last: int
    windows: tuple[int, ...]
    seeds: tuple[tuple[int, int], ...]
    panels: tuple[Panel, ...]

    def label(self) -> str:
        return f"{self.top:.3g}"


def panels(curves: Sequence[Curve]) -> Panels | None:
    """None where no training is recorded."""
    if not curves:
        return None
    top = max(max(curve.losses) for curve in curves) or 1.0
    last = max(curve.total for curve in curves)
    seeds = sorted({curve.seed for curve in curves})
    hues = {seed: place % HUES for place, seed in enumerate(seeds)}
    by_arm: dict[str, list[Curve]] = {}
    for curve in curves:
        by_arm.setdefault(curve.arm, []).append(curve)
    return Panels(
        top=top,
        last=last,
        windows=tuple(sorted({curve.window for curve in curves})),
        seeds=tuple(hues.items()),
        panels=tuple(
            Panel(
                arm,
                tuple(Line(one.seed, hues[one.seed], _points(one, top=top, last=last)) for one in lines),
                "; ".join(f"seed {one.seed} from {one.losses[0]:.3g} to {one.losses[-1]:.3g}" for one in lines),
            )
            for arm, lines in by_arm.items()
        ),
    )


def curves_data(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """What the page's script shows on hover, to four figures."""
    return [
        asdict(curve)
        | {"steps": [round(step, 1) for step in curve.steps], "losses": [float(f"{loss:.4g}") for loss in curve.losses]}
        for curve in curves
    ]


def _points(curve: Curve, *, top: float, last: int) -> str:
    places = zip(curve.steps, curve.losses, strict=True)
    return " ".join(f"{100 * step / last:.2f},{100 - 100 * max(loss, 0.0) / top:.2f}" for step, loss in places)
