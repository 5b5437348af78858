"""How often a study of this size would name a bottleneck that is there, and one that is not: by simulation.

The rule is that of `ablations.verdict`, for many simulated studies at once.
"""

# K arms: all trained, then one frozen slot each  R repetitions of the study  S training seeds  E episodes

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ablations.statistics.design import crossed
from ablations.statistics.interval import ALPHA, POWER
from ablations.statistics.simulation import Design, Scatter, margins, won

NONE = -1  # no slot is named
STUDIES = 400
RESOLUTION = 0.005  # of the smallest detectable effect
LEAST = 0.01  # success of an arm that the largest effect leaves


@dataclass(frozen=True)
class Freezing:
    """A study that freezes each of `slots` slots; the arm that trains everything has this `success`."""

    design: Design
    scatter: Scatter
    slots: int
    success: float


@dataclass(frozen=True)
class Power:
    """Shares of simulated studies. `found`: the slot that alone costs the planted effect is named the bottleneck.

    `false`: a slot is named though none is worse than all others, the larger of two shares: no slot costs anything, and
    two slots cost the same planted effect. `smallest`: the effect that 80 % of studies would find; None where there is
    none, not even of the largest effect.
    """

    design: Design
    found: float
    false: float
    smallest: float | None


def power(generator: np.random.Generator, freezing: Freezing, *, effect: float, studies: int = STUDIES) -> Power:
    """The power of a study to find a planted cost of `effect` (a fraction, below the reference's success)."""
    drawn_KRSE = margins(
        generator, 1 + freezing.slots, design=freezing.design, scatter=freezing.scatter, studies=studies
    )

    def named(costs: Sequence[float]) -> np.ndarray:
        success = (freezing.success, *(freezing.success - cost for cost in costs))
        return bottlenecks(won(drawn_KRSE, success, design=freezing.design, scatter=freezing.scatter))

    def found(cost: float) -> float:
        """The same draws for every cost: a larger one is found in no fewer studies."""
        return float((named([cost] + [0.0] * (freezing.slots - 1)) == 0).mean())

    nulls = [[0.0] * freezing.slots, [effect] * 2 + [0.0] * (freezing.slots - 2)]
    return Power(
        design=freezing.design,
        found=found(effect),
        false=max(float((named(costs) != NONE).mean()) for costs in nulls),
        smallest=_smallest(found, freezing.success - LEAST),
    )


def _smallest(found: Callable[[float], float], largest: float) -> float | None:
    if found(largest) < POWER:
        return None
    low, high = 0.0, largest
    while high - low > RESOLUTION:
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) >= POWER else (middle, high)
    return high


def bottlenecks(won_KRSE: np.ndarray) -> np.ndarray:
    """The slot that the rule names in each study, int [R], 0 for the first frozen arm; `NONE` where it names none."""
    frozen = won_KRSE[1:]
    leader_R = frozen.mean((-2, -1)).argmin(0)
    studies = np.arange(len(leader_R))
    worst_RSE = frozen[leader_R, studies].astype(float)
    p_KR = np.stack([_p(against - worst_RSE) for against in won_KRSE])
    p_KR[1 + leader_R, studies] = 0.0  # the leader is not compared with itself: its p is not among them
    ordered_KR = np.sort(p_KR, axis=0)[1:]
    holm_KR = ordered_KR * np.arange(len(ordered_KR), 0, -1)[:, None]
    return np.where((holm_KR <= ALPHA).all(0) & (len(frozen) > 1), leader_R, NONE)


def _p(difference_RSE: np.ndarray) -> np.ndarray:
    """Two-sided p of each contrast; 1 where the difference is not above 0."""
    spread = crossed(difference_RSE, (1.0, -1.0))
    return np.where(spread.mean > 0, 2 * stats.t.sf(spread.mean / spread.error, spread.freedom), 1.0)
