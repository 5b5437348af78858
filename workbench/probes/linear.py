"""What a linear map reads from frozen tokens: ridge regression, judged on episodes that it was not fitted to.

The read is all tokens of a frame side by side, each number scaled to mean 0 and variance 1: every place of the picture
has weights of its own, since where a thing is shows in which token answers to it, and the mean token has forgotten
that. There are more numbers than frames, so the regression is solved between frames (its dual form): exact, without
a projection to principal components, which are directions of much variance and not those of small things.
"""

# N frames  T tokens  W width  D values to be read  E held-out episodes  L penalties  M fitted frames  H other frames

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

PENALTIES = 10.0 ** np.arange(-4, 5)
"""Shares of the mean squared length of a frame's features."""
HELD_OUT, VALIDATION = 0.4, 0.25
"""Of all episodes; of those that are left for training."""


@dataclass(frozen=True, eq=False)
class Parts:
    """bool [N] each: every frame is in one part, all frames of an episode in the same."""

    fit_N: np.ndarray
    validation_N: np.ndarray
    held_out_N: np.ndarray

    @property
    def training_N(self) -> np.ndarray:
        return self.fit_N | self.validation_N


@dataclass(frozen=True, eq=False)
class Target:
    """What is read, float [N, D]: `there_N` marks the frames that have it; deviations of all D count alike."""

    wanted_ND: np.ndarray
    there_N: np.ndarray


@dataclass(frozen=True, eq=False)
class Reading:
    """Squared residuals and squared deviations from the held-out mean, float [E], by held-out episode."""

    residual_E: np.ndarray
    deviation_E: np.ndarray

    @property
    def r2(self) -> float:
        """1: all is read; 0: as good as the mean; below: worse than the mean."""
        return float(1 - self.residual_E.sum() / self.deviation_E.sum())


def split(episode_N: np.ndarray, generator: np.random.Generator) -> Parts:
    """Parts by episode, drawn from the generator."""
    order = generator.permutation(np.unique(episode_N))
    held = round(HELD_OUT * len(order))
    validation = held + round(VALIDATION * (len(order) - held))
    pieces = (order[validation:], order[held:validation], order[:held])
    return Parts(*(np.isin(episode_N, piece) for piece in pieces))


def kernel(tokens_NTW: np.ndarray, training_N: np.ndarray) -> np.ndarray:
    """Inner products [N, N] of frames, scaled by those of training; what is constant there is left out."""
    features = tokens_NTW.reshape(len(tokens_NTW), -1)
    mean, spread = features[training_N].mean(0), features[training_N].std(0)
    varies = spread > 1e-6 * spread.max()
    scaled = (features[:, varies] - mean[varies]) / spread[varies]
    return (scaled @ scaled.T).astype(np.float64)


def probe(kernel_NN: np.ndarray, targets: Sequence[Target], parts: Parts, episode_N: np.ndarray) -> Reading:
    """Each target is fitted by itself, with the penalty that is best on the validation part; they are scored together.

    The penalty chosen, the map is fitted to validation and fit part together.
    """
    episodes = np.unique(episode_N[parts.held_out_N])
    residual_E, deviation_E = np.zeros(len(episodes)), np.zeros(len(episodes))
    for target in targets:
        fit, validation, held = (
            np.flatnonzero(part & target.there_N) for part in (parts.fit_N, parts.validation_N, parts.held_out_N)
        )
        wanted_ND, training = target.wanted_ND, np.concatenate([fit, validation])
        tried_LHD = _predicted(kernel_NN, fit, validation, wanted_ND, PENALTIES)
        best = ((tried_LHD - wanted_ND[validation]) ** 2).sum((1, 2)).argmin()
        read_HD = _predicted(kernel_NN, training, held, wanted_ND, PENALTIES[[best]])[0]
        at = np.searchsorted(episodes, episode_N[held])
        np.add.at(residual_E, at, ((read_HD - wanted_ND[held]) ** 2).sum(1))
        np.add.at(deviation_E, at, ((wanted_ND[held] - wanted_ND[held].mean(0)) ** 2).sum(1))
    return Reading(residual_E, deviation_E)


def change(before: Reading, after: Reading, generator: np.random.Generator, draws: int = 2000) -> tuple[float, float]:
    """95 % interval of after's R² minus before's, over other held-out episodes (bootstrap by episode, paired).

    What the maps were fitted to stays the same, so scatter over training episodes is not in it.
    """
    count = len(before.residual_E)
    times_RE = generator.multinomial(count, np.full(count, 1 / count), size=draws)
    gained_R = (times_RE @ (before.residual_E - after.residual_E)) / (times_RE @ before.deviation_E)
    low, high = np.quantile(gained_R, (0.025, 0.975))
    return float(low), float(high)


def _predicted(
    kernel_NN: np.ndarray, fitted: np.ndarray, others: np.ndarray, wanted_ND: np.ndarray, penalties: np.ndarray
) -> np.ndarray:
    """Ridge regression with an intercept, fitted to some frames, at other frames: [L, H, D]."""
    inner_MM, outer_HM = kernel_NN[np.ix_(fitted, fitted)], kernel_NN[np.ix_(others, fitted)]
    mean_M = inner_MM.mean(0)
    outer_HM = outer_HM - outer_HM.mean(1, keepdims=True) - mean_M + mean_M.mean()
    inner_MM = inner_MM - mean_M - mean_M[:, None] + mean_M.mean()
    strength_M, axes_MM = eigh(inner_MM)
    strength_M, mean_D = strength_M.clip(min=0), wanted_ND[fitted].mean(0)
    turned_MD, turned_HM = axes_MM.T @ (wanted_ND[fitted] - mean_D), outer_HM @ axes_MM
    floor = strength_M.mean()
    return np.stack([turned_HM @ (turned_MD / (strength_M + p * floor)[:, None]) + mean_D for p in penalties])
