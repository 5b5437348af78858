"""p values of several contrasts at once."""

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Holm's (1979) adjusted p values, in the order given; each is compared with alpha itself."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(p)[order] * np.arange(len(p), 0, -1)))
    return tuple(float(value) for value in adjusted)


def benjamini_hochberg(p: Sequence[float]) -> tuple[float, ...]:
    """Benjamini and Hochberg's (1995) adjusted p values, in the order given, for exploratory contrasts.

    Of the contrasts at or below alpha, an expected share of alpha at most is false; it does not bound the chance of
    any false one, as Holm's does.
    """
    order = np.argsort(p, kind="stable")[::-1]
    ranks = np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(np.asarray(p)[order] * len(p) / ranks))
    return tuple(float(value) for value in adjusted)
