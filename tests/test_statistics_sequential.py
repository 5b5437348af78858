"""One may look after every episode: at most one comparison in twenty of equal policies is ever decided."""

from math import comb

import numpy as np
import pytest

from ablations.statistics.sequential import decided_at, e_values

# R repetitions  E discordant episodes


def pairs_RE(chance: float, seed: int = 0, size: tuple[int, int] = (4000, 1000)) -> np.ndarray:
    return np.random.default_rng(seed).random(size) < chance


@pytest.mark.parametrize(("question", "runs"), [("different", 4000), ("better", 600)])
def test_equal_policies_are_told_apart_in_at_most_five_of_a_hundred_runs_of_a_thousand_looks(question, runs):
    won = pairs_RE(0.5, size=(runs, 1000))
    assert (decided_at(won, ~won, question=question) > 0).mean() <= 0.05


def test_a_fixed_test_that_is_looked_at_as_often_would_err_often():
    """Why the e-process: the same looks with a 5 % sign test."""
    won = pairs_RE(0.5)
    counts = np.arange(1, 1001)
    z = (2 * won.cumsum(-1) - counts) / np.sqrt(counts)
    assert (np.abs(z[:, 9:]) > 1.96).any(-1).mean() > 0.3


def test_a_worse_policy_is_not_called_better():
    won = pairs_RE(0.45, size=(300, 1000))
    assert (decided_at(won, ~won, question="better") > 0).mean() <= 0.01


@pytest.mark.parametrize(("chance", "typical", "power"), [(0.6, 260, 0.99), (0.7, 70, 0.999), (0.9, 20, 0.999)])
def test_planted_differences_are_found_early(chance, typical, power):
    won = pairs_RE(chance, seed=1)
    at = decided_at(won, ~won)
    assert (at > 0).mean() >= power
    assert np.median(at[at > 0]) <= typical


def test_the_bet_is_fair_at_every_length():
    """Under a fair coin the expectation over all outcomes of n episodes is 1 for either question."""
    for n in (1, 2, 7, 30):
        wins = np.arange(n + 1)
        chances = np.array([comb(n, k) for k in wins]) / 2**n
        assert (chances * e_values(wins, n - wins)).sum() == pytest.approx(1.0)
        assert (chances * e_values(wins, n - wins, question="better")).sum() == pytest.approx(1.0)


def test_only_discordant_episodes_move_the_bet():
    first = np.array([True, True, False, True, True, True, True, True, True, True])
    second = np.array([True, False, False, False, False, False, False, False, False, False])
    assert e_values(np.array(0), np.array(0)) == pytest.approx(1.0)
    assert decided_at(first, second) == 10
    assert decided_at(first, first) == 0


def test_turning_the_policies_around_changes_nothing_but_who_is_better():
    won = pairs_RE(0.8, size=(20, 60))
    assert (decided_at(won, ~won) == decided_at(~won, won)).all()
    assert (decided_at(~won, won, question="better") == 0).all()


def test_thousands_of_wins_are_infinitely_clear_and_not_an_error():
    e = e_values(np.array([5000, 0]), np.array([0, 5000]), question="better")
    assert e[0] == np.inf and e[1] == 0.0
