"""From an objective's name to the module that computes its loss."""

from collections.abc import Callable

import torch

from workbench.objectives.behaviour_cloning import BehaviourCloning
from workbench.objectives.contract import Objective, Sizes
from workbench.objectives.facts import facts
from workbench.objectives.state import State

BUILDERS: dict[str, Callable[[Sizes], Objective]] = {
    "behaviour-cloning": lambda sizes: BehaviourCloning(),
    "permuted-actions": lambda sizes: BehaviourCloning("same task"),
    "permuted-actions-across-tasks": lambda sizes: BehaviourCloning("any task"),
    "state": State,
}
"""By the names of `facts.OBJECTIVES`; a test compares them."""


def build_objective(name: str, sizes: Sizes, *, seed: int) -> Objective:
    """The objective, its own parameters drawn from `seed`. Raises UserError for an unknown name."""
    facts(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BUILDERS[name](sizes)
