"""An interval drawn in characters: a point with whiskers on a common axis."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from ablations.table import Figure


@dataclass(frozen=True)
class Axis:
    """From `low` to `high` over `width` characters; what reaches further is cut and ends in an arrow."""

    low: float
    high: float
    width: int

    def place(self, value: float) -> int:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(share * (self.width - 1))

    def labels(self) -> Text:
        """The ends and zero, in points or per cent."""
        line = [" "] * self.width
        ends = {0: f"{100 * self.low:.0f}", self.width: f"{100 * self.high:.0f}"}
        line[: len(ends[0])] = ends[0].replace("-", "−")
        line[self.width - len(ends[self.width]) :] = ends[self.width]
        zero = self.place(0.0)
        if line[max(0, zero - 1) : zero + 2] == [" ", " ", " "]:
            line[zero] = "0"
        return Text("".join(line), style="dim not bold")

    def draw(self, figure: Figure | None) -> Text:
        """Bold where the interval leaves 0 out."""
        line = [" "] * self.width
        zero = self.place(0.0)
        line[zero] = "┊"
        if figure is None:
            return Text("".join(line), style="dim")
        start, end = self.place(figure.low), self.place(figure.high)
        line[start : end + 1] = "─" * (end + 1 - start)
        if start < zero < end:
            line[zero] = "┼"
        line[start] = "◂" if figure.low < self.low else "├"
        line[end] = "▸" if figure.high > self.high else "┤"
        line[self.place(figure.value)] = "●"
        return Text("".join(line), style="bold" if figure.low > 0 or figure.high < 0 else "")


def difference_axis(figures: Sequence[Figure | None], width: int) -> Axis:
    """Wide enough for every value twice over, in steps of 10 points, so that one wide interval does not flatten all."""
    drawn = [figure for figure in figures if figure is not None]
    reach = max((2 * abs(figure.value) for figure in drawn), default=0.1)
    low = max(min((figure.low for figure in drawn), default=0.0), -reach)
    high = min(max((figure.high for figure in drawn), default=0.0), reach)
    return Axis(min(-1, int(10 * low) - 1) / 10, max(1, int(10 * high) + 1) / 10, width)


def share_axis(width: int) -> Axis:
    return Axis(0.0, 1.0, width)
