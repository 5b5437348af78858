"""Success of one arm."""

from typing import Literal, assert_never

import numpy as np
from scipy import stats

from ablations.statistics.design import Outcomes, crossed, shared, stacked
from ablations.statistics.interval import ALPHA, Interval

Cells = Literal["wilson", "clopper-pearson"]
"""Which interval a share of episodes has."""


def wilson(share: float, trials: float, *, quantile: float) -> Interval:
    """Wilson's (1927) score interval of a share seen in so many independent trials, which need not be whole."""
    squared = quantile**2 / trials
    middle = (share + squared / 2) / (1 + squared)
    reach = quantile * np.sqrt(share * (1 - share) / trials + squared / (4 * trials)) / (1 + squared)
    return Interval(share, float(max(0.0, middle - reach)), float(min(1.0, middle + reach)))


def clopper_pearson(share: float, trials: float, *, alpha: float = ALPHA) -> Interval:
    """Clopper and Pearson's (1934) exact interval of a share seen in so many trials, which need not be whole."""
    won, lost = share * trials, (1 - share) * trials
    low = stats.beta.ppf(alpha / 2, won, lost + 1) if won else 0.0
    high = stats.beta.ppf(1 - alpha / 2, won + 1, lost) if lost else 1.0
    return Interval(share, float(low), float(high))


def cell(arm: Outcomes, how: Cells = "wilson") -> Interval | None:
    """Success of one arm; None where no seed has been played.

    One seed: the binomial interval of its episodes. More: that interval with as many trials as, drawn independently,
    would have the variance of the crossed design. Few seeds widen it: Wilson's by Student's quantile in the place of
    the normal one, Clopper and Pearson's by as many trials fewer (Korn and Graubard 1998).
    """
    seeds = shared(arm)
    if not seeds:
        return None
    values_SE = stacked(arm, seeds)
    spread, normal = crossed(values_SE, (1.0,)), float(stats.norm.ppf(1 - ALPHA / 2))
    share, trials, quantile = float(spread.mean), float(values_SE.size), normal
    if len(seeds) > 1:
        padded = (values_SE.sum() + len(seeds)) / (values_SE.size + 2 * len(seeds))
        trials = padded * (1 - padded) / float(spread.error) ** 2
        quantile = float(stats.t.ppf(1 - ALPHA / 2, spread.freedom))
    match how:
        case "wilson":
            return wilson(share, trials, quantile=quantile)
        case "clopper-pearson":
            return clopper_pearson(share, trials * (normal / quantile) ** 2)
        case _:
            assert_never(how)
