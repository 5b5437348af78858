"""The verdict on many simulated studies: named when planted, not named when not, and as `decide` would."""

import numpy as np
import pytest

from ablations.statistics.contrast import contrast
from ablations.statistics.power import NONE, Freezing, bottlenecks, power
from ablations.statistics.simulation import Design, Scatter, margins, won
from ablations.verdict import decide

USUAL = Freezing(Design(seeds=5, states=100), Scatter(), slots=4, success=0.7)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_rule_on_many_studies_is_the_rule_of_the_verdict(seeds):
    design, scatter = Design(seeds=seeds, states=40), Scatter()
    drawn = margins(np.random.default_rng(seeds), 4, design=design, scatter=scatter, studies=60)
    outcomes = won(drawn, (0.8, 0.4, 0.8, 0.7), design=design, scatter=scatter)
    one_by_one = []
    for study in outcomes.swapaxes(0, 1):
        trained, *frozen = [dict(enumerate(arm)) for arm in study]
        costs = {str(slot): contrast(trained, arm) for slot, arm in enumerate(frozen)}
        found = decide({slot: cost for slot, cost in costs.items() if cost}, dict(zip("012", frozen, strict=True)))
        one_by_one.append(NONE if found.slot is None else int(found.slot))
    assert bottlenecks(outcomes).tolist() == one_by_one
    assert 5 < one_by_one.count(0) < 55


def test_a_slot_that_alone_was_frozen_is_never_named():
    drawn = margins(np.random.default_rng(0), 2, design=USUAL.design, scatter=USUAL.scatter, studies=20)
    outcomes = won(drawn, (0.9, 0.1), design=USUAL.design, scatter=USUAL.scatter)
    assert (bottlenecks(outcomes) == NONE).all()


def test_twenty_points_are_found_by_five_seeds_of_a_hundred_episodes_and_nothing_is_found_where_nothing_is():
    found = power(np.random.default_rng(1), USUAL, effect=0.2)
    assert found.found >= 0.8
    assert found.false <= 0.05
    assert found.smallest is not None and 0.1 < found.smallest <= 0.2


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("spread", [0.1, 0.4])
def test_the_verdict_errs_in_at_most_one_study_of_twenty(seeds, spread):
    study = Freezing(Design(seeds, 100), Scatter(seed=spread), slots=4, success=0.7)
    assert power(np.random.default_rng(2), study, effect=0.3, studies=200).false <= 0.05


def test_more_seeds_find_more_and_smaller_effects():
    few, many = (
        power(np.random.default_rng(3), Freezing(Design(seeds, 60), Scatter(), 3, 0.7), effect=0.2, studies=150)
        for seeds in (3, 8)
    )
    assert few.found < many.found
    assert few.smallest is not None and many.smallest is not None
    assert few.smallest > many.smallest


def test_where_no_effect_is_large_enough_there_is_no_smallest():
    tiny = Freezing(Design(seeds=2, states=4), Scatter(seed=0.8), slots=3, success=0.3)
    assert power(np.random.default_rng(4), tiny, effect=0.2, studies=100).smallest is None
