"""A figure with its 95 % interval, and a difference with what is needed to judge it.

Success, differences and intervals are fractions (0 to 1, or -1 to 1), not per cent.
"""

from dataclasses import dataclass

from scipy import stats

ALPHA = 0.05
POWER = 0.80
ENOUGH_SEEDS = 3  # fewer than this in a cell is screening, not a claim


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate(Interval):
    """A difference and what is needed to judge it.

    `p` is two-sided, against 0; `seeds` is how many training seeds it rests on; `paired`: the arms share them.
    """

    error: float
    freedom: float
    p: float
    seeds: int
    paired: bool

    @property
    def screening(self) -> bool:
        """Too few training seeds to support a claim."""
        return self.seeds < ENOUGH_SEEDS

    @property
    def smallest_detectable(self) -> float:
        """The true difference that 80 % of repeated studies would find (Bloom 1995: t_{1-a/2} + t_{power})."""
        quantiles = stats.t.ppf(1 - ALPHA / 2, self.freedom) + stats.t.ppf(POWER, self.freedom)
        return float(quantiles) * self.error
