"""Which input carries how much of the success: Shapley shares over the coalitions of inputs."""

from collections.abc import Mapping
from itertools import combinations
from math import factorial

import numpy as np

from ablations.statistics.contrast import student
from ablations.statistics.design import Outcomes, crossed, shared, stacked
from ablations.statistics.interval import Estimate

Coalition = frozenset[str]  # the inputs that were left as they are; the others are blank


def shapley(values: Mapping[Coalition, Outcomes]) -> dict[str, Estimate] | None:
    """The Shapley share of every input, exact: no coalition is sampled. None where one lacks, or no seed played all.

    An input's share is what it adds to the coalitions without it, averaged over all orders in which the inputs could
    have been given (Shapley 1953). The shares add up to full minus none. Each is a weighted sum of the coalitions'
    success, so its interval is that of a contrast with these weights, over the seeds that all coalitions have.
    """
    inputs = sorted(frozenset().union(*values))
    wanted = coalitions(inputs)
    if any(coalition not in values for coalition in wanted):
        return None
    seeds = shared(*(values[coalition] for coalition in wanted))
    if not inputs or not seeds:
        return None
    arms_KSE = np.stack([stacked(values[coalition], seeds) for coalition in wanted])
    shares = {}
    for name in inputs:
        weights_K = [_weight(name, coalition, len(inputs)) for coalition in wanted]
        spread = crossed(np.tensordot(weights_K, arms_KSE, axes=1), weights_K)
        shares[name] = student(spread, seeds=len(seeds), paired=True)
    return shares


def coalitions(inputs: list[str]) -> list[Coalition]:
    """Every set of these inputs, from none to all: the arms that `shapley` needs."""
    return [frozenset(some) for size in range(len(inputs) + 1) for some in combinations(inputs, size)]


def _weight(name: str, coalition: Coalition, inputs: int) -> float:
    """Share of the orders in which the others of this coalition come before `name`, below 0 for those without it."""
    before = len(coalition - {name})
    share = factorial(before) * factorial(inputs - before - 1) / factorial(inputs)
    return share if name in coalition else -share
