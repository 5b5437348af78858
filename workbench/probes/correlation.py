"""Whether what a probe measures ranks encoders as their policies' success does."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from scipy.stats import rankdata

# R runs  B draws

ENOUGH = 4
"""Runs below which nothing is said: three can be in the same order by chance one time in six."""
DRAWS = 5000
ALL_ORDERS = 7
"""Runs up to which every order is tried; of more runs, `DRAWS` orders."""


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation over so many runs and its 95 % bootstrap interval.

    `p` is the share of all orders of success that correlate as strongly: an interval of few runs is too narrow, while
    this cannot fall below 0.08 with four runs, or 0.02 with five.
    """

    rho: float
    low: float
    high: float
    p: float
    runs: int


def rank_correlation(
    measured: Sequence[float], success: Sequence[float], generator: np.random.Generator
) -> Correlation | None:
    """None with fewer than `ENOUGH` runs, or where all of one side are the same.

    Percentile bootstrap over runs; draws in which all of one side are the same say nothing and are left out.
    """
    a_R, b_R = np.array(measured, float), np.array(success, float)
    if len(a_R) < ENOUGH or np.ptp(a_R) == 0 or np.ptp(b_R) == 0:
        return None
    drawn_BR = generator.integers(len(a_R), size=(DRAWS, len(a_R)))
    varied_B = (np.ptp(a_R[drawn_BR], axis=1) > 0) & (np.ptp(b_R[drawn_BR], axis=1) > 0)
    low, high = np.quantile(_spearman(a_R[drawn_BR][varied_B], b_R[drawn_BR][varied_B]), (0.025, 0.975))
    rho = float(_spearman(a_R[None], b_R[None])[0])
    return Correlation(rho, float(low), float(high), _p(rho, a_R, b_R, generator), len(a_R))


def _p(rho: float, a_R: np.ndarray, b_R: np.ndarray, generator: np.random.Generator) -> float:
    """Two-sided permutation test: exact up to `ALL_ORDERS` runs."""
    count = len(a_R)
    every = count <= ALL_ORDERS
    orders = list(permutations(range(count))) if every else [generator.permutation(count) for _ in range(DRAWS)]
    shuffled_B = _spearman(np.broadcast_to(a_R, (len(orders), count)), b_R[np.array(orders)])
    as_strong = int((np.abs(shuffled_B) >= abs(rho) - 1e-9).sum())
    return as_strong / len(orders) if every else (as_strong + 1) / (len(orders) + 1)


def _spearman(a_BR: np.ndarray, b_BR: np.ndarray) -> np.ndarray:
    """Pearson's correlation of ranks, ties sharing theirs, row by row."""
    a_BR, b_BR = (rankdata(values, axis=1) for values in (a_BR, b_BR))
    a_BR, b_BR = a_BR - a_BR.mean(1, keepdims=True), b_BR - b_BR.mean(1, keepdims=True)
    return (a_BR * b_BR).sum(1) / np.sqrt((a_BR**2).sum(1) * (b_BR**2).sum(1))
