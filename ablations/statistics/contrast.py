"""The difference of two arms, and what is said of it."""

import numpy as np
from scipy import stats

from ablations.statistics.design import Outcomes, Spread, crossed, shared, stacked
from ablations.statistics.interval import ALPHA, Estimate


def contrast(a: Outcomes, b: Outcomes) -> Estimate | None:
    """Success of a minus success of b, paired by episode and by the seeds that both have; None where one has no seed.

    Arms without a common seed count as independent (Welch-Satterthwaite), which is wider.
    """
    if not a or not b:
        return None
    seeds = shared(a, b)
    if seeds:
        spread = crossed(stacked(a, seeds) - stacked(b, seeds), (1.0, -1.0))
        return student(spread, seeds=len(seeds), paired=True)
    first, second = crossed(stacked(a, shared(a)), (1.0,)), crossed(stacked(b, shared(b)), (1.0,))
    variance = first.error**2 + second.error**2
    freedom = variance**2 / (first.error**4 / first.freedom + second.error**4 / second.freedom)
    independent = Spread(first.mean - second.mean, np.sqrt(variance), freedom)
    return student(independent, seeds=min(len(a), len(b)), paired=False)


def student(spread: Spread, *, seeds: int, paired: bool) -> Estimate:
    """A spread as an estimate: t interval cut to what a difference of success rates can be, and p against 0."""
    value, error, freedom = float(spread.mean), float(spread.error), float(spread.freedom)
    reach = float(stats.t.ppf(1 - ALPHA / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(value) / error, freedom))
    return Estimate(value, max(-1.0, value - reach), min(1.0, value + reach), error, freedom, p, seeds, paired)


def mcnemar(a: Outcomes, b: Outcomes) -> dict[int, float]:
    """Exact two-sided McNemar p of each common seed: do these trained policies differ on manifests like this one?"""
    values = {}
    for seed in shared(a, b):
        won = int(np.sum(a[seed] & ~b[seed]))
        lost = int(np.sum(b[seed] & ~a[seed]))
        values[seed] = float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0
    return values


def equivalent(estimate: Estimate, margin: float) -> bool:
    """Two one-sided tests at 5 % (TOST): the true difference lies within +-margin."""
    reach = float(stats.t.ppf(1 - ALPHA, estimate.freedom)) * estimate.error
    return -margin < estimate.value - reach and estimate.value + reach < margin
