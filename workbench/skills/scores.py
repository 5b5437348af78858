"""How much of a skill a model has: the share of held-out questions that it answers exactly."""

from pathlib import Path

import numpy as np
import torch

from workbench.adapt import adapt
from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.compute import place
from workbench.data.contract import Frames
from workbench.objectives.questions import pictures, turns_about
from workbench.objectives.turn import own_head, turn_scores
from workbench.plan import Inject
from workbench.policy import Policy
from workbench.scene import read_scenes
from workbench.skills.contract import Known
from workbench.skills.places import places
from workbench.spec import SLOTS, Spec

TURNS, BATCH = 400, 50
SEED = 29
"""Of the questions: the same ones for every model."""


def before_and_after(plan: Inject, run: str, root: Path, frames: Frames, skill: str) -> tuple[float, float]:
    """The score of what an injection starts from, and of its finished run."""
    return scored(plan, plan.spec, root, frames, skill), scored(plan, _finished(plan.spec, run), root, frames, skill)


def scored(plan: Inject, spec: Spec, root: Path, frames: Frames, skill: str) -> float:
    """The score of the model that `spec` builds, where and in the precision that the plan says."""
    policy, backbone = build(spec, plan.seed, chunk=plan.budget.chunk, root=root, compute=plan.compute)
    adapt(policy, spec, seed=plan.seed)
    spot = place(plan.compute)
    spot.settle(policy)
    own_head(policy, backbone).to(spot.device)
    with spot.autocast():
        return skill_score(policy.eval(), backbone, frames, skill, device=spot.device)


def skill_score(policy: Policy, backbone: Backbone, frames: Frames, skill: str, *, device: torch.device) -> float:
    """Share of questions, about frames drawn evenly, whose answer has every token right, given the ones before it.

    Always the same questions. Raises UserError where the data do not say what is where.
    """
    random = np.random.default_rng(SEED)
    known = Known(frames, read_scenes(frames), places(backbone))
    turns = turns_about(known, random.integers(len(frames), size=TURNS).tolist(), (skill,), random)
    right: list[float] = []
    for start in range(0, TURNS, BATCH):
        part = turns[start : start + BATCH]
        image_BHWC = pictures(known, part).to(device)
        questions, answers = [turn.question for turn in part], [turn.answer for turn in part]
        right += turn_scores(policy, image_BHWC, questions, answers, backbone).tolist()
    return float(np.mean(right))


def _finished(spec: Spec, run: str) -> Spec:
    """The same model with the run's weights in every slot but the head, which says nothing."""
    said = {name: spec.slot(name).model_copy(update={"weights": f"run:{run}", "adapters": "merged"}) for name in SLOTS}
    return Spec.model_validate({**dict(spec), **said, "head": spec.head})
