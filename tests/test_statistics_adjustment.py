"""Adjusted p values, and the exact interval of a cell, against their definitions and against scipy."""

import numpy as np
import pytest
from scipy import stats

from ablations.statistics.adjustment import benjamini_hochberg, holm
from ablations.statistics.cell import cell, clopper_pearson


def test_benjamini_and_hochberg_agree_with_scipy():
    p = np.random.default_rng(0).random(40) ** 3
    assert benjamini_hochberg(p.tolist()) == pytest.approx(stats.false_discovery_control(p))


def test_benjamini_and_hochberg_keep_the_order_and_never_fall_below_p():
    p = [0.04, 0.01, 0.9, 0.03]
    adjusted = benjamini_hochberg(p)
    assert adjusted == pytest.approx((0.16 / 3, 0.04, 0.9, 0.16 / 3))
    assert all(low <= high <= most for low, high, most in zip(p, adjusted, holm(p), strict=True))
    assert benjamini_hochberg([]) == ()


def test_of_the_contrasts_called_real_one_in_twenty_is_not():
    generator, shares = np.random.default_rng(1), []
    for _ in range(400):
        p = np.concatenate([generator.random(15), 2 * stats.norm.sf(np.abs(generator.normal(3, 1, size=5)))])
        called = np.array(benjamini_hochberg(p.tolist())) <= 0.05
        shares.append(called[:15].sum() / max(1, called.sum()))
    assert np.mean(shares) <= 0.05


@pytest.mark.parametrize("won", [0, 1, 30, 60])
def test_the_exact_interval_of_one_seed_is_that_of_scipy(won):
    found = cell({7: np.arange(60) < won}, how="clopper-pearson")
    theirs = stats.binomtest(won, 60).proportion_ci(method="exact")
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((won / 60, theirs.low, theirs.high))


def test_trials_of_the_exact_interval_need_not_be_whole():
    lows = [clopper_pearson(0.8, trials).low for trials in (10.0, 10.5, 11.0)]
    assert lows == sorted(lows) and lows[0] < lows[1] < lows[2]


def test_the_exact_interval_of_several_seeds_is_wider_than_wilsons():
    generator = np.random.default_rng(2)
    arm = {seed: generator.random(80) < 0.6 for seed in range(4)}
    exact, usual = cell(arm, how="clopper-pearson"), cell(arm)
    assert exact is not None and usual is not None
    assert exact.value == usual.value
    assert 1.0 < (exact.high - exact.low) / (usual.high - usual.low) < 1.4
