"""Aggregates over seed x task scores, as Agarwal et al. (2021, arXiv:2108.13264, section 4) define them.

Intervals come from a bootstrap of whole training seeds, stratified by arm: one seed plays every task, so drawing seeds
anew within each task would call dependent scores independent. A percentile interval of so few seeds is too narrow; the
bootstrap therefore gives the standard error alone, corrected for its size, and Student's quantile the width (Hesterberg
2015, section 5). The intervals speak of other training seeds on the same manifest.
"""

# S training seeds  M tasks  D bootstrap draws

from collections.abc import Sequence

import numpy as np
from scipy import stats

from ablations.statistics.design import Outcomes, shared, stacked
from ablations.statistics.interval import ALPHA, Interval

DRAWS = 2000
TRIMMED = 0.25  # of the scores, at either end


def by_task(arm: Outcomes, tasks: Sequence[str]) -> np.ndarray:
    """Success of each seed on each task, float [S, M]; `tasks` names the task of every episode of the manifest."""
    values_SE, names = stacked(arm, shared(arm)), np.asarray(tasks)
    return np.stack([values_SE[:, names == task].mean(-1) for task in dict.fromkeys(tasks)], axis=-1)


def interquartile(arm: Outcomes, tasks: Sequence[str]) -> Interval | None:
    """The interquartile mean of an arm over seeds and tasks; None where it has fewer than two seeds, as `iqm`.

    The same outcomes give the same interval: the bootstrap begins at the same seed.
    """
    return iqm(by_task(arm, tasks), generator=np.random.default_rng(0)) if len(arm) > 1 else None


def improvement(a: Outcomes, b: Outcomes, tasks: Sequence[str]) -> Interval | None:
    """How often a training of a is better than one of b on a task; None where an arm has fewer than two seeds."""
    if min(len(a), len(b)) < 2:
        return None
    return probability_of_improvement(by_task(a, tasks), by_task(b, tasks), generator=np.random.default_rng(0))


def iqm(scores_SM: np.ndarray, *, generator: np.random.Generator, draws: int = DRAWS) -> Interval | None:
    """Interquartile mean: the mean of the scores without the lowest and the highest quarter of them.

    None where the seeds leave nothing to tell its error from: fewer than two, or the same middle half for all.
    """
    seeds = len(scores_SM)
    drawn_DSM = scores_SM[generator.integers(seeds, size=(draws, seeds))]
    value, error = float(_middle(scores_SM[None])[0]), float(_middle(drawn_DSM).std())
    if seeds < 2 or error == 0:
        return None
    return _student(value, error * float(np.sqrt(seeds / (seeds - 1))), freedom=seeds - 1)


def _middle(scores_DSM: np.ndarray) -> np.ndarray:
    flat = np.sort(scores_DSM.reshape(len(scores_DSM), -1), axis=-1)
    cut = int(TRIMMED * flat.shape[-1])
    return flat[:, cut : flat.shape[-1] - cut].mean(-1)


def probability_of_improvement(
    a_SM: np.ndarray, b_SM: np.ndarray, *, generator: np.random.Generator, draws: int = DRAWS
) -> Interval | None:
    """How often a training of a scores above one of b on a task, ties half, averaged over tasks.

    Arms need not have the same number of seeds. For its error alone each arm gains a seed that beats all and one that
    beats none, so that arms which do not overlap do not give an interval of no width: at 3 to 10 seeds it is wide, and
    covers more than it promises. None where an arm has one seed.
    """
    if min(len(a_SM), len(b_SM)) < 2:
        return None
    ends = np.array([[np.inf], [-np.inf]]).repeat(a_SM.shape[1], axis=1)
    better = _better(np.concatenate([a_SM, ends]), np.concatenate([b_SM, ends]))
    rows, columns = (generator.integers(size, size=(draws, size)) for size in better.shape)
    error = float(better[rows[:, :, None], columns[:, None, :]].mean((1, 2)).std())
    return _student(float(_better(a_SM, b_SM).mean()), error, freedom=len(a_SM) + len(b_SM) - 2)


def _better(a_SM: np.ndarray, b_SM: np.ndarray) -> np.ndarray:
    """Share of tasks on which each seed of a scores above each seed of b, ties half, float [S, S]."""
    a_S1M, b_1SM = a_SM[:, None], b_SM[None]
    return (0.5 * (a_S1M > b_1SM) + 0.5 * (a_S1M >= b_1SM)).mean(-1)


def _student(value: float, error: float, *, freedom: int) -> Interval:
    reach = float(stats.t.ppf(1 - ALPHA / 2, freedom)) * error
    return Interval(value, max(0.0, value - reach), min(1.0, value + reach))
