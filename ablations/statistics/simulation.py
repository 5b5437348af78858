"""Studies that were never run: outcomes drawn from planted success rates, to measure what a method promises.

A probit model: an episode is won where the arm's location plus the effects of task, seed, episode and seed x episode
plus standard normal noise exceed 0. Success over all seeds and episodes then has a closed form, so that coverage is
measured against the truth and not against a longer simulation.
"""

# K arms  R repetitions of the study  S training seeds  E episodes  M tasks

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats


@dataclass(frozen=True)
class Design:
    """Training seeds of each arm, and the episodes that each plays: `states` initial states of each of `tasks`."""

    seeds: int
    states: int
    tasks: int = 1

    @property
    def episodes(self) -> int:
        return self.states * self.tasks


@dataclass(frozen=True)
class Scatter:
    """Standard deviations in probits, and the share of each variance that all arms of a study have in common.

    Tasks are those of the benchmark, so their effects are fixed: evenly spread normal quantiles. Seeds and episodes are
    draws. At 50 % success a training seed of 0.2 scatters by about 6 points.
    """

    seed: float = 0.2
    episode: float = 0.8
    seed_episode: float = 0.3
    task: float = 0.4
    common: float = 0.5

    @property
    def total(self) -> float:
        """Standard deviation of the margin by which an episode of one task is won, noise included."""
        return float(np.sqrt(1 + self.seed**2 + self.episode**2 + self.seed_episode**2))


def margins(generator: np.random.Generator, arms: int, *, design: Design, scatter: Scatter, studies: int) -> np.ndarray:
    """What an arm's location is added to, float32 [K, R, S, E]; episodes are in the order of a manifest, by task."""
    tasks_E = np.repeat(_task_effects(design, scatter), design.states)
    total_KRSE = np.broadcast_to(tasks_E, (arms, studies, design.seeds, design.episodes)).astype(np.float32)
    for size, deviation in (
        ((design.seeds, 1), scatter.seed),
        ((1, design.episodes), scatter.episode),
        ((design.seeds, design.episodes), scatter.seed_episode),
    ):
        common = generator.standard_normal((1, studies, *size), dtype=np.float32)
        own = generator.standard_normal((arms, studies, *size), dtype=np.float32)
        total_KRSE += deviation * (np.sqrt(scatter.common) * common + np.sqrt(1 - scatter.common) * own)
    return total_KRSE + generator.standard_normal(total_KRSE.shape, dtype=np.float32)


def won(margins_KRSE: np.ndarray, success: Sequence[float], *, design: Design, scatter: Scatter) -> np.ndarray:
    """Outcomes bool [K, R, S, E] of arms whose success over all seeds and episodes is `success` (between 0 and 1)."""
    places_K = np.array([location(planted, design=design, scatter=scatter) for planted in success], dtype=np.float32)
    return margins_KRSE + places_K[:, None, None, None] > 0


def location(success: float, *, design: Design, scatter: Scatter) -> float:
    """The location, in probits, of an arm that wins this share of all episodes of the design's tasks."""

    def excess(place: float) -> float:
        return float(stats.norm.cdf((place + _task_effects(design, scatter)) / scatter.total).mean()) - success

    reach = 10 * scatter.total + 10 * scatter.task
    return float(optimize.root_scalar(excess, bracket=(-reach, reach), method="brentq").root)


def _task_effects(design: Design, scatter: Scatter) -> np.ndarray:
    return scatter.task * stats.norm.ppf((np.arange(design.tasks) + 0.5) / design.tasks)
