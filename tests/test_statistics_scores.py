"""Interquartile mean and probability of improvement: rliable's values, and intervals that cover other seeds."""

import numpy as np
import pytest

from ablations.statistics.scores import by_task, iqm, probability_of_improvement
from ablations.statistics.simulation import Design, Scatter, margins, won

# S training seeds  M tasks

A_SM = np.array(
    [
        [0.35, 0.80, 0.10, 0.55],
        [0.40, 0.75, 0.20, 0.60],
        [0.30, 0.95, 0.10, 0.50],
        [0.45, 0.85, 0.00, 0.65],
        [0.50, 0.70, 0.15, 0.40],
    ]
)
B_SM = np.array(
    [
        [0.30, 0.80, 0.05, 0.50],
        [0.25, 0.90, 0.10, 0.45],
        [0.45, 0.60, 0.20, 0.55],
        [0.20, 0.70, 0.00, 0.60],
    ]
)


def value(found) -> float:
    assert found is not None
    return found.value


def interquartile(scores_SM: np.ndarray) -> float:
    return value(iqm(scores_SM, generator=np.random.default_rng(0), draws=10))


def improvement(a_SM: np.ndarray, b_SM: np.ndarray) -> float:
    return value(probability_of_improvement(a_SM, b_SM, generator=np.random.default_rng(0), draws=10))


def test_values_are_those_of_rliable():
    """The figures are what `aggregate_iqm` and `probability_of_improvement` of rliable 1.2.0 returned for these arrays.

    rliable itself is no dependency: it brings pandas, statsmodels and seaborn for two formulas.
    """
    assert interquartile(A_SM) == pytest.approx(0.47)
    assert interquartile(B_SM) == pytest.approx(0.4125)
    assert improvement(A_SM, B_SM) == pytest.approx(0.65625)
    assert improvement(B_SM, A_SM) == pytest.approx(0.34375)
    assert improvement(A_SM, A_SM) == pytest.approx(0.5)
    generator = np.random.default_rng(0)
    three_SM, seven_SM = generator.random((3, 5)), generator.random((7, 5))
    assert interquartile(three_SM) == pytest.approx(0.576250943665541)
    assert interquartile(seven_SM) == pytest.approx(0.5212524183947181)
    assert improvement(three_SM, seven_SM) == pytest.approx(0.5428571428571428)


def test_the_same_generator_gives_the_same_interval():
    first, again = (iqm(A_SM, generator=np.random.default_rng(3)) for _ in range(2))
    assert first == again


def test_outcomes_become_the_success_of_each_seed_on_each_task():
    arm = {3: np.array([True, False, True, True]), 1: np.array([False, False, True, False])}
    assert by_task(arm, ("reach", "lift", "reach", "lift")) == pytest.approx(np.array([[0.5, 0.0], [1.0, 0.5]]))


def test_what_one_seed_or_equal_seeds_cannot_tell_has_no_interval():
    generator = np.random.default_rng(0)
    assert iqm(A_SM[:1], generator=generator) is None
    assert iqm(np.ones((5, 4)), generator=generator) is None
    assert probability_of_improvement(A_SM[:1], B_SM, generator=generator) is None


def test_arms_that_do_not_overlap_still_have_an_interval():
    found = probability_of_improvement(B_SM + 2, B_SM, generator=np.random.default_rng(0))
    assert found is not None
    assert found.value == found.high == 1.0 and 0.3 < found.low < 0.9


def played(seeds: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two arms of many seeds on one manifest of four tasks."""
    design, scatter = Design(seeds=seeds, states=25, tasks=4), Scatter()
    drawn = margins(generator, 2, design=design, scatter=scatter, studies=1)
    a, b = won(drawn, (0.7, 0.6), design=design, scatter=scatter)[:, 0].reshape(2, seeds, 4, 25).mean(-1)
    return a, b


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_cover_what_very_many_seeds_would_give(seeds):
    generator, middle, better = np.random.default_rng(seeds), [], []
    for _ in range(4):
        a_SM, b_SM = played(300, generator)
        whole, chance = interquartile(a_SM), improvement(a_SM, b_SM)
        for start in range(0, 300 - seeds + 1, 2 * seeds):
            some = slice(start, start + seeds)
            found = iqm(a_SM[some], generator=generator, draws=300)
            middle.append(found is not None and found.low <= whole <= found.high)
            found = probability_of_improvement(a_SM[some], b_SM[some], generator=generator, draws=300)
            better.append(found is not None and found.low <= chance <= found.high)
    assert 0.93 <= np.mean(middle) <= 0.985
    assert np.mean(better) >= 0.95
