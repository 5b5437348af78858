"""From an objective's name to the module that computes its loss."""

from collections.abc import Callable

import torch

from workbench.objectives.action_regression import ActionRegression
from workbench.objectives.behaviour_cloning import BehaviourCloning
from workbench.objectives.contract import Objective, Sizes
from workbench.objectives.distillation import random_distillation
from workbench.objectives.facts import facts
from workbench.objectives.inverse_dynamics import InverseDynamics
from workbench.objectives.masked_image import MaskedImage
from workbench.objectives.progress import Progress
from workbench.objectives.state import State
from workbench.objectives.time_contrastive import TimeContrastive

BUILDERS: dict[str, Callable[[Sizes], Objective]] = {
    "behaviour-cloning": lambda sizes: BehaviourCloning(),
    "permuted-actions": lambda sizes: BehaviourCloning("same task"),
    "permuted-actions-across-tasks": lambda sizes: BehaviourCloning("any task"),
    "action-regression": ActionRegression,
    "inverse-dynamics": InverseDynamics,
    "time-contrastive": TimeContrastive,
    "progress": Progress,
    "state": State,
    "masked-image": MaskedImage,
    "random-distillation": random_distillation,
}
"""By the names of `facts.OBJECTIVES`; a test compares them."""


def build_objective(name: str, sizes: Sizes, *, seed: int) -> Objective:
    """The objective, its own parameters drawn from `seed`. Raises UserError for an unknown name."""
    facts(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BUILDERS[name](sizes)
