"""From an objective's name to the module that computes its loss."""

from collections.abc import Callable
from dataclasses import replace

import torch

from workbench.objectives.action_regression import ActionRegression
from workbench.objectives.anchors import KeepFeatures, KeepWeights
from workbench.objectives.behaviour_cloning import BehaviourCloning, language_only
from workbench.objectives.contract import Given, Objective, Sum
from workbench.objectives.depth import Depth
from workbench.objectives.distillation import distillation, random_distillation
from workbench.objectives.facts import terms
from workbench.objectives.fast import Fast
from workbench.objectives.image_text import ImageText
from workbench.objectives.inverse_dynamics import inverse_dynamics
from workbench.objectives.masked_image import MaskedImage
from workbench.objectives.other_domain import OtherDomain
from workbench.objectives.progress import Progress
from workbench.objectives.questions import Questions, questions
from workbench.objectives.self_distillation import SelfDistillation
from workbench.objectives.sham import Sham
from workbench.objectives.state import State
from workbench.objectives.time_contrastive import TimeContrastive

BUILDERS: dict[str, Callable[[Given], Objective]] = {
    "behaviour-cloning": lambda given: BehaviourCloning(),
    "permuted-actions": lambda given: BehaviourCloning("same task"),
    "permuted-actions-across-tasks": lambda given: BehaviourCloning("any task"),
    "action-regression": lambda given: ActionRegression(given.sizes),
    "inverse-dynamics": inverse_dynamics,
    "time-contrastive": lambda given: TimeContrastive(given.sizes),
    "progress": lambda given: Progress(given.sizes),
    "state": lambda given: State(given.sizes),
    "fast-tokens": Fast,
    "masked-image": lambda given: MaskedImage(given.sizes),
    "random-distillation": lambda given: random_distillation(given.sizes),
    "distillation": distillation,
    "depth": Depth,
    "image-text": ImageText,
    "self-distillation": SelfDistillation,
    "pointing": lambda given: Questions(given, ("pointing",)),
    "captions": lambda given: Questions(given, ("colours",)),
    "questions": questions,
    "language-only": language_only,
    "other-domain": OtherDomain,
    "sham": lambda given: Sham(),
    "keep-weights": KeepWeights,
    "keep-features": KeepFeatures,
}
"""By the names of `rows.OBJECTIVES`; a test compares them."""


def build_objective(objective: str, given: Given, *, seed: int) -> Objective:
    """The objective, its own parameters drawn from `seed`. Raises UserError for an unknown name."""
    parts = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for term in terms(objective):
            made = BUILDERS[term.name](replace(given, choice=term.choice))
            parts[str(replace(term, weight=1.0))] = (term.weight, made)
    if objective in parts:
        return parts[objective][1]
    return Sum(parts)
