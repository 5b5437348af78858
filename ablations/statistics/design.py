"""The crossed design: every training seed of every arm plays every episode of one manifest. No random numbers.

Seeds and episodes are both draws from what could have been trained and played, so both are random effects, and both are
in every interval.
"""

# K arms  S training seeds  E episodes of the manifest

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Outcomes = Mapping[int, np.ndarray]  # training seed -> bool [E], in manifest order


@dataclass(frozen=True)
class Spread:
    """Mean, standard error and degrees of freedom of S x E tables; the leading axes are kept."""

    mean: np.ndarray
    error: np.ndarray
    freedom: np.ndarray


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
