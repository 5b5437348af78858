"""Effects are planted, and the intervals must find them as often as they promise."""

import numpy as np
import pytest
from planted import Draw, chance
from scipy import stats

from ablations.statistics.adjustment import holm
from ablations.statistics.cell import cell, wilson
from ablations.statistics.contrast import contrast, equivalent, mcnemar
from ablations.statistics.design import crossed
from ablations.statistics.recovery import recovery

# R repetitions  S seeds  E episodes


def draw_RSE(generator: np.random.Generator, size: tuple[int, int, int], logits: tuple[float, ...], spread: float):
    """Outcomes of one arm per logit on the same episodes: seed effects and difficulties are normal in the logit."""
    repetitions, seeds, episodes = size
    difficulty = generator.normal(size=(repetitions, 1, episodes))
    arms = []
    for logit in logits:
        seed_effect = generator.normal(size=(repetitions, seeds, 1)) * spread
        own = generator.normal(size=(repetitions, 1, episodes)) * 0.5
        arms.append((generator.random(size) < chance(logit + difficulty + seed_effect + own)).astype(float))
    return arms


def expected(logit: float, spread: float) -> float:
    """Success over all seeds and episodes, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    return float((weights / weights.sum() * chance(logit + np.sqrt(1 + 0.25 + spread**2) * nodes)).sum())


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_of_a_contrast_covers_the_planted_difference(seeds):
    generator = np.random.default_rng(seeds)
    covered = []
    for logit, drop in [(0.0, 0.0), (0.0, 1.0), (1.5, 1.5), (-2.0, 0.0)]:
        for spread in (0.2, 0.4, 0.8):
            a, b = draw_RSE(generator, (1500, seeds, 60), (logit, logit - drop), spread)
            planted = expected(logit, spread) - expected(logit - drop, spread)
            found = crossed(a - b, (1.0, -1.0))
            reach = stats.t.ppf(0.975, found.freedom) * found.error
            covered.append(float((np.abs(found.mean - planted) <= reach).mean()))
    assert min(covered) >= 0.93
    assert np.mean(covered) <= 0.985


def test_the_interval_of_a_cell_covers_the_planted_success():
    generator = np.random.default_rng(0)
    for logit in (0.0, 2.5):
        planted = expected(logit, 0.4)
        (a,) = draw_RSE(generator, (300, 3, 60), (logit,), 0.4)
        cells = [cell({seed: one[seed] > 0 for seed in range(3)}) for one in a]
        assert np.mean([found is not None and found.low <= planted <= found.high for found in cells]) >= 0.93


def test_an_interval_over_seeds_is_wider_than_one_that_pools_their_episodes():
    generator = np.random.default_rng(1)
    outcomes = Draw(generator, episodes=60, seed_spread=1.5).outcomes(0.0, range(3))
    found = cell(outcomes)
    assert found is not None
    pooled = wilson(found.value, 180, quantile=1.96)
    assert found.high - found.low > 1.3 * (pooled.high - pooled.low)


def test_wilson_agrees_with_scipy():
    ours = wilson(0.8, 10, quantile=float(stats.norm.ppf(0.975)))
    theirs = stats.binomtest(8, 10).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_one_seed_has_the_wilson_interval_of_its_episodes():
    found = cell({4: np.arange(60) < 12})
    theirs = stats.binomtest(12, 60).proportion_ci(method="wilson")
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.2, theirs.low, theirs.high))


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_outcomes_that_are_all_alike_do_not_give_an_interval_of_no_width(seeds):
    won = {seed: np.ones(60, dtype=bool) for seed in range(seeds)}
    success, difference = cell(won), contrast(won, won)
    assert success is not None and difference is not None
    assert success.high == pytest.approx(1.0) and 0.3 < success.low < 0.97
    assert difference.value == 0 and difference.low < -0.03 and difference.high > 0.03
    assert difference.p == pytest.approx(1.0)


def test_one_lost_episode_moves_the_interval_of_a_perfect_arm_only_a_little():
    perfect = {seed: np.ones(60, dtype=bool) for seed in range(3)}
    nearly = perfect | {0: np.arange(60) > 0}
    first, second = cell(perfect), cell(nearly)
    assert first is not None and second is not None
    assert second.low == pytest.approx(first.low, abs=0.03)


def test_a_contrast_turned_around_changes_only_its_sign():
    draw = Draw(np.random.default_rng(2), episodes=40)
    a, b = draw.outcomes(1.0, range(3)), draw.outcomes(0.0, range(3))
    there, back = contrast(a, b), contrast(b, a)
    assert there is not None and back is not None
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert back.p == pytest.approx(there.p)


def test_the_difference_is_the_plain_difference_of_the_means():
    draw = Draw(np.random.default_rng(3), episodes=40)
    a, b = draw.outcomes(1.0, range(3)), draw.outcomes(0.0, range(3))
    found = contrast(a, b)
    assert found is not None
    assert found.value == pytest.approx(np.mean(list(a.values())) - np.mean(list(b.values())))


def test_pairing_by_episode_narrows_the_interval():
    generator = np.random.default_rng(4)
    difficulty = generator.normal(size=200) * 4
    a, b = ({0: generator.random(200) < chance(shift + difficulty)} for shift in (0.5, 0.0))
    shuffled = {0: generator.permutation(b[0])}
    paired, unpaired = contrast(a, b), contrast(a, shuffled)
    assert paired is not None and unpaired is not None
    assert paired.error < 0.75 * unpaired.error


def test_only_the_seeds_that_both_arms_have_are_compared():
    draw = Draw(np.random.default_rng(5), episodes=40)
    a, b = draw.outcomes(1.0, (0, 1, 2)), draw.outcomes(0.0, (1,))
    found = contrast(a, b)
    assert found is not None
    assert (found.seeds, found.paired, found.screening) == (1, True, True)
    assert found.value == pytest.approx(a[1].mean() - b[1].mean())


def test_arms_without_a_common_seed_count_as_independent():
    draw = Draw(np.random.default_rng(6), episodes=40)
    a, b = draw.outcomes(1.0, (0, 1, 2)), draw.outcomes(0.0, (3, 4))
    found = contrast(a, b)
    assert found is not None
    assert (found.seeds, found.paired) == (2, False)
    assert found.low < found.value < found.high


def test_an_arm_that_was_not_played_has_no_figures():
    played = {0: np.ones(4, dtype=bool)}
    assert cell({}) is None
    assert contrast(played, {}) is None and contrast({}, played) is None
    assert recovery({}, played, trained=played) is None


def test_the_smallest_detectable_effect_is_found_in_four_of_five_repetitions():
    generator = np.random.default_rng(7)
    values_RSE = generator.normal(size=(1500, 5, 1)) * 0.1 + generator.normal(size=(1500, 5, 200)) * 0.3
    error = np.sqrt(0.01 / 5 + 0.09 / 1000)
    planted = float(stats.t.ppf(0.975, 4) + stats.t.ppf(0.8, 4)) * error
    found = crossed(values_RSE + planted, (1.0, -1.0))
    power = float((found.mean > stats.t.ppf(0.975, found.freedom) * found.error).mean())
    assert 0.75 <= power <= 0.87


def test_recovery_covers_the_planted_ratio():
    generator = np.random.default_rng(8)
    logits = (0.2, -1.0, 1.4)
    shares = [expected(logit, 0.3) for logit in logits]
    planted = (shares[0] - shares[1]) / (shares[2] - shares[1])
    covered = []
    for injected, frozen, trained in zip(*draw_RSE(generator, (120, 5, 100), logits, 0.3), strict=True):
        arms = [{seed: one[seed] > 0 for seed in range(5)} for one in (injected, frozen, trained)]
        found = recovery(arms[0], arms[1], trained=arms[2])
        covered.append(found is not None and found.low <= planted <= found.high)
    assert np.mean(covered) >= 0.93


def test_recovery_is_whole_when_injection_equals_training():
    draw = Draw(np.random.default_rng(9), episodes=100)
    trained, frozen = draw.outcomes(2.0, range(5)), draw.outcomes(-1.0, range(5))
    found = recovery(trained, frozen, trained=trained)
    assert found is not None
    assert found.value == pytest.approx(1.0)
    assert found.low < 1.0 < found.high


def test_there_is_no_recovery_where_freezing_costs_nothing_or_helps():
    draw = Draw(np.random.default_rng(10), episodes=60)
    low, same, high = (draw.outcomes(logit, range(3)) for logit in (-2.0, -2.0, 2.0))
    assert recovery(high, low, trained=same) is None
    assert recovery(low, high, trained=low) is None


def test_mcnemar_counts_only_the_episodes_on_which_the_arms_differ():
    a, b = np.zeros(20, dtype=bool), np.zeros(20, dtype=bool)
    a[:9], b[9:10] = True, True
    assert mcnemar({0: a, 1: a}, {0: b, 1: a, 2: b}) == pytest.approx({0: 2 * (1 + 10) / 2**10, 1: 1.0})


def test_holm_multiplies_the_smallest_p_most_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([0.9]) == pytest.approx((0.9,))
    assert holm([]) == ()


def test_equal_arms_are_equivalent_only_with_enough_episodes():
    for episodes, enough in ((20, False), (2000, True)):
        same = {seed: np.arange(episodes) % 2 == 0 for seed in range(3)}
        found = contrast(same, same)
        assert found is not None
        assert equivalent(found, 0.05) is enough
