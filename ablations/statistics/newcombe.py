"""The difference of two success rates of which no more is known than the rates and how many trials they rest on."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from ablations.statistics.cell import wilson
from ablations.statistics.interval import ALPHA, Interval


@dataclass(frozen=True)
class Rate:
    """A share (0 … 1) of so many independent trials."""

    share: float
    trials: int


def newcombe(a: Rate, b: Rate) -> Interval:
    """a minus b with Newcombe's (1998) hybrid score interval, his method 10: independent samples, nothing paired."""
    quantile = float(stats.norm.ppf(1 - ALPHA / 2))
    first, second = (wilson(rate.share, rate.trials, quantile=quantile) for rate in (a, b))
    difference = a.share - b.share
    below = np.hypot(a.share - first.low, second.high - b.share)
    above = np.hypot(first.high - a.share, b.share - second.low)
    return Interval(difference, float(difference - below), float(difference + above))
