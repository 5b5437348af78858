"""What stored outcomes say about success, differences and ratios: pure functions of arrays, no random numbers.

The design is crossed: every seed of every arm plays every episode of one manifest. Seeds and episodes are both draws
from what could have been trained and played, so both are random effects, and both are in every interval.

Success, differences and intervals are fractions (0 to 1, or -1 to 1), not per cent.
"""

# K arms  S training seeds  E episodes of the manifest

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

Outcomes = Mapping[int, np.ndarray]  # training seed -> bool [E], in manifest order

ALPHA = 0.05
POWER = 0.80
ENOUGH_SEEDS = 3  # fewer than this in a cell is screening, not a claim
LONGEST_RATIO = 1e6  # a ratio's interval that has not ended by here is as good as unbounded


@dataclass(frozen=True)
class Spread:
    """Mean, standard error and degrees of freedom of S x E tables; the leading axes are kept."""

    mean: np.ndarray
    error: np.ndarray
    freedom: np.ndarray


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


def crossed(values_SE: np.ndarray, weights: Sequence[float]) -> Spread:
    """Spread of the mean of `values_SE`, the sum of weight x outcomes over arms, float [..., S, E].

    Two-way random effects: var(mean) = (MS_seed + MS_episode - MS_residual) / SE, where a mean square of seeds or
    episodes below the residual's is raised to it, since no variance is negative. Seeds are few, so the degrees of
    freedom are theirs, divided by their share of the variance: S - 1 where seeds are all of it, many where they are
    none. (Hillis 2007, who met this design with readers and cases, squares the share: with 3 seeds that covers down to
    92 %, this 94 to 99 %; `tests/test_statistics.py` measures it.)

    One seed leaves the variance of episodes alone: the result then says nothing about other seeds.
    """
    padded_SE = _with_pseudo_episodes(values_SE, np.asarray(weights, dtype=float))
    seeds, episodes = padded_SE.shape[-2:]
    most = max(values_SE.shape[-1] - 1, seeds - 1, 1)
    mean, by_seed, by_episode = padded_SE.mean((-2, -1)), padded_SE.mean(-1), padded_SE.mean(-2)
    episode_square = seeds * ((by_episode - mean[..., None]) ** 2).sum(-1) / (episodes - 1)
    if seeds == 1:
        error = np.sqrt(episode_square / episodes)
        return Spread(values_SE.mean((-2, -1)), error, np.full(mean.shape, float(most)))
    seed_square = episodes * ((by_seed - mean[..., None]) ** 2).sum(-1) / (seeds - 1)
    rest_SE = padded_SE - by_seed[..., None] - by_episode[..., None, :] + mean[..., None, None]
    residual_square = (rest_SE**2).sum((-2, -1)) / ((seeds - 1) * (episodes - 1))
    raised = np.maximum(seed_square, residual_square)
    total = raised + np.maximum(episode_square - residual_square, 0)
    share = np.maximum(seed_square / total, (seeds - 1) / most)
    freedom = (seeds - 1) / np.minimum(share, 1)
    return Spread(values_SE.mean((-2, -1)), np.sqrt(total / (seeds * episodes)), freedom)


def _with_pseudo_episodes(values_SE: np.ndarray, weights_K: np.ndarray) -> np.ndarray:
    """Two more episodes, for the variance only: outcomes that are all alike must not give an interval of no width.

    They lie above and below the middle of what the weights allow. One arm gains a success and a failure; a pair of arms
    gains half a win and half a loss each, as in Agresti and Min (2005).
    """
    middle, reach = weights_K.sum() / 2, np.sqrt((weights_K**2).sum()) / 2
    pseudo = np.broadcast_to([middle + reach, middle - reach], (*values_SE.shape[:-1], 2))
    return np.concatenate([values_SE, pseudo], axis=-1)


def shared(*arms: Outcomes) -> tuple[int, ...]:
    """The training seeds that all arms have, in order."""
    return tuple(sorted(set.intersection(*(set(arm) for arm in arms))))


def stacked(arm: Outcomes, seeds: Sequence[int]) -> np.ndarray:
    """Outcomes as float [S, E]."""
    return np.stack([np.asarray(arm[seed], dtype=float) for seed in seeds])


def wilson(share: float, trials: float, *, quantile: float) -> Interval:
    """Wilson's (1927) score interval of a share seen in so many independent trials, which need not be whole."""
    squared = quantile**2 / trials
    middle = (share + squared / 2) / (1 + squared)
    reach = quantile * np.sqrt(share * (1 - share) / trials + squared / (4 * trials)) / (1 + squared)
    return Interval(share, float(max(0.0, middle - reach)), float(min(1.0, middle + reach)))


def cell(arm: Outcomes) -> Interval | None:
    """Success of one arm; None where no seed has been played.

    One seed: Wilson over its episodes. More: Wilson with Student's quantile and as many trials as, drawn independently,
    would have the variance of the crossed design.
    """
    seeds = shared(arm)
    if not seeds:
        return None
    values_SE = stacked(arm, seeds)
    spread = crossed(values_SE, (1.0,))
    if len(seeds) == 1:
        return wilson(float(spread.mean), values_SE.size, quantile=float(stats.norm.ppf(1 - ALPHA / 2)))
    padded = (values_SE.sum() + len(seeds)) / (values_SE.size + 2 * len(seeds))
    trials = padded * (1 - padded) / float(spread.error) ** 2
    return wilson(float(spread.mean), trials, quantile=float(stats.t.ppf(1 - ALPHA / 2, spread.freedom)))


def contrast(a: Outcomes, b: Outcomes) -> Estimate | None:
    """Success of a minus success of b, paired by episode and by the seeds that both have; None where one has no seed.

    Arms without a common seed count as independent (Welch-Satterthwaite), which is wider.
    """
    if not a or not b:
        return None
    seeds = shared(a, b)
    if seeds:
        spread = crossed(stacked(a, seeds) - stacked(b, seeds), (1.0, -1.0))
        return _student(spread, seeds=len(seeds), paired=True)
    first, second = crossed(stacked(a, shared(a)), (1.0,)), crossed(stacked(b, shared(b)), (1.0,))
    variance = first.error**2 + second.error**2
    freedom = variance**2 / (first.error**4 / first.freedom + second.error**4 / second.freedom)
    independent = Spread(first.mean - second.mean, np.sqrt(variance), freedom)
    return _student(independent, seeds=min(len(a), len(b)), paired=False)


def _student(spread: Spread, *, seeds: int, paired: bool) -> Estimate:
    value, error, freedom = float(spread.mean), float(spread.error), float(spread.freedom)
    reach = float(stats.t.ppf(1 - ALPHA / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(value) / error, freedom))
    return Estimate(value, max(-1.0, value - reach), min(1.0, value + reach), error, freedom, p, seeds, paired)


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


def mcnemar(a: Outcomes, b: Outcomes) -> dict[int, float]:
    """Exact two-sided McNemar p of each common seed: do these trained policies differ on manifests like this one?"""
    values = {}
    for seed in shared(a, b):
        won = int(np.sum(a[seed] & ~b[seed]))
        lost = int(np.sum(b[seed] & ~a[seed]))
        values[seed] = float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0
    return values


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Holm's (1979) adjusted p values, in the order given; each is compared with alpha itself."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(p)[order] * np.arange(len(p), 0, -1)))
    return tuple(float(value) for value in adjusted)


def equivalent(estimate: Estimate, margin: float) -> bool:
    """Two one-sided tests at 5 % (TOST): the true difference lies within +-margin."""
    reach = float(stats.t.ppf(1 - ALPHA, estimate.freedom)) * estimate.error
    return -margin < estimate.value - reach and estimate.value + reach < margin
