"""The ratio of two differences: how much of a freeze cost is won back."""

from collections.abc import Callable

import numpy as np
from scipy import optimize, stats

from ablations.statistics.contrast import contrast
from ablations.statistics.design import Outcomes, crossed, shared, stacked
from ablations.statistics.interval import ALPHA, Interval

LONGEST_RATIO = 1e6  # a ratio's interval that has not ended by here is as good as unbounded


def recovery(injected: Outcomes, frozen: Outcomes, *, trained: Outcomes) -> Interval | None:
    """How much of a slot's freeze cost its injection wins back, (I - F) / (U - F), over the seeds that all three have.

    Fieller's (1954) interval: the ratios r that the data do not reject for I - F = r (U - F), tested as one contrast of
    three arms, so that numerator and denominator share their seeds and episodes. None where the interval of U - F
    reaches down to 0: there is no cost to win back, and the ratio is unbounded.
    """
    seeds = shared(injected, frozen, trained)
    cost = contrast({seed: trained[seed] for seed in seeds}, {seed: frozen[seed] for seed in seeds})
    if cost is None or cost.low <= 0:
        return None
    arms_KSE = np.stack([stacked(arm, seeds) for arm in (injected, frozen, trained)])

    def excess(ratio: float) -> float:
        """Above 0 where the data reject this ratio."""
        weights = (1.0, ratio - 1.0, -ratio)
        spread = crossed(np.tensordot(weights, arms_KSE, axes=1), weights)
        return float(abs(spread.mean) / spread.error - stats.t.ppf(1 - ALPHA / 2, spread.freedom))

    value = float((arms_KSE[0] - arms_KSE[1]).mean()) / cost.value
    low, high = _first_rejected(excess, value, step=-0.1), _first_rejected(excess, value, step=0.1)
    return None if low is None or high is None else Interval(value, low, high)


def _first_rejected(excess: Callable[[float], float], start: float, *, step: float) -> float | None:
    """Where `excess`, below 0 at `start`, turns positive on the side of `step`; None if not within `LONGEST_RATIO`."""
    near, far = start, start + step
    while excess(far) <= 0:
        if abs(far) > LONGEST_RATIO:
            return None
        near, far = far, start + 1.5 * (far - start)
    return float(optimize.root_scalar(excess, bracket=(near, far), method="brentq").root)
