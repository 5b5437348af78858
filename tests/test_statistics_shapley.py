"""Shapley shares keep their axioms, and agree with the average over all orders."""

from itertools import permutations

import numpy as np
import pytest
from planted import Draw

from ablations.statistics.contrast import contrast
from ablations.statistics.shapley import Coalition, coalitions, shapley

INPUTS = ["image", "instruction", "proprioception"]


def played(seed: int = 0, seeds: int = 4) -> dict[Coalition, dict[int, np.ndarray]]:
    draw = Draw(np.random.default_rng(seed), episodes=50)
    strength = {"image": 2.0, "instruction": 1.0, "proprioception": 0.3}
    return {
        some: draw.outcomes(sum(strength[name] for name in some) - 2.0, range(seeds)) for some in coalitions(INPUTS)
    }


def success(arm: dict[int, np.ndarray]) -> float:
    return float(np.mean(list(arm.values())))


def test_shares_are_the_average_over_all_orders():
    values = played()
    found = shapley(values)
    assert found is not None
    for name in INPUTS:
        added = []
        for order in permutations(INPUTS):
            before = frozenset(order[: order.index(name)])
            added.append(success(values[before | {name}]) - success(values[before]))
        assert found[name].value == pytest.approx(np.mean(added))


def test_shares_add_up_to_full_minus_none():
    values = played(1)
    found = shapley(values)
    assert found is not None
    whole = success(values[frozenset(INPUTS)]) - success(values[frozenset()])
    assert sum(share.value for share in found.values()) == pytest.approx(whole)


def test_inputs_that_do_the_same_have_the_same_share_and_interval():
    values = played(2)
    twin = {"image": "instruction", "instruction": "image", "proprioception": "proprioception"}
    for some in list(values):
        values[frozenset(twin[name] for name in some)] = values[some]
    found = shapley(values)
    assert found is not None
    one, other = found["image"], found["instruction"]
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))


def test_an_input_that_changes_nothing_has_no_share():
    values = played(3)
    for some in coalitions(["image", "instruction"]):
        values[some | {"proprioception"}] = values[some]
    found = shapley(values)
    assert found is not None
    nothing = found["proprioception"]
    assert nothing.value == pytest.approx(0.0) and nothing.low < 0 < nothing.high


def test_the_share_of_the_only_input_is_a_contrast():
    draw = Draw(np.random.default_rng(4), episodes=50)
    seen, blank = draw.outcomes(1.0, range(3)), draw.outcomes(-1.0, range(3))
    found, plain = shapley({frozenset({"image"}): seen, frozenset(): blank}), contrast(seen, blank)
    assert found is not None
    assert found == {"image": plain}


def test_without_a_coalition_or_a_common_seed_there_are_no_shares():
    values = played(5)
    lacking = {some: arm for some, arm in values.items() if some != {"image"}}
    assert shapley(lacking) is None
    assert shapley(values | {frozenset({"image"}): {9: values[frozenset()][0]}}) is None
    assert shapley({frozenset(): values[frozenset()]}) is None
