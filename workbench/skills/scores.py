"""How much of a skill a model has: the share of held-out questions that it answers exactly."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.compute import place
from workbench.data.contract import Frames
from workbench.objectives.questions import pictures, turns_about
from workbench.objectives.turn import own_head, turn_scores
from workbench.plan import Inject
from workbench.policy import Policy
from workbench.recipes import actions_of
from workbench.scene import read_scenes
from workbench.skills.contract import Known
from workbench.skills.places import levels, places
from workbench.spec import SLOTS, Spec
from workbench.training.adapt import adapt

TURNS, BATCH, GREY = 400, 50, 128
SEED = 29
"""Of the questions: the same ones for every model."""


@dataclass(frozen=True)
class Scores:
    """Of what an injection starts from, of its finished run, and of that one where all pictures are grey.

    What is right without a picture is form and guesses: what answers look like, and which are frequent.
    """

    before: float
    after: float
    blank: float


def before_and_after(plan: Inject, run: str, root: Path, frames: Frames, skill: str) -> Scores:
    """The scores of an injection whose run is finished."""
    before = _scores(plan, plan.spec, root, frames, skill, (False,))
    return Scores(*before, *_scores(plan, _finished(plan.spec, run), root, frames, skill, (False, True)))


def _scores(
    plan: Inject, spec: Spec, root: Path, frames: Frames, skill: str, blank: tuple[bool, ...]
) -> tuple[float, ...]:
    """Of the model that `spec` builds, where and in the precision that the plan says."""
    policy, backbone = build(
        spec, plan.seed, chunk=plan.budget.chunk, root=root, compute=plan.compute, actions=actions_of(plan.data)
    )
    adapt(policy, spec, seed=plan.seed)
    spot = place(plan.compute)
    spot.settle(policy)
    own_head(policy, backbone).to(spot.device)
    with spot.autocast():
        return tuple(
            skill_score(policy.eval(), backbone, frames, skill, device=spot.device, blank=grey) for grey in blank
        )


def skill_score(
    policy: Policy, backbone: Backbone, frames: Frames, skill: str, *, device: torch.device, blank: bool = False
) -> float:
    """Share of questions, about frames drawn evenly, whose answer has every token right, given the ones before it.

    Always the same questions; `blank`: every picture is grey. Raises UserError where the data do not say what is where.
    """
    random = np.random.default_rng(SEED)
    known = Known(frames, read_scenes(frames), places(backbone), levels(backbone))
    turns = turns_about(known, random.integers(len(frames), size=TURNS).tolist(), (skill,), random)
    right: list[float] = []
    for start in range(0, TURNS, BATCH):
        part = turns[start : start + BATCH]
        image_BHWC = pictures(known, part).to(device)
        shown_BHWC = torch.full_like(image_BHWC, GREY) if blank else image_BHWC
        questions, answers = [turn.question for turn in part], [turn.answer for turn in part]
        right += turn_scores(policy, shown_BHWC, questions, answers, backbone).tolist()
    return float(np.mean(right))


def _finished(spec: Spec, run: str) -> Spec:
    """The same model with the run's weights in every slot but the head, which says nothing."""
    said = {name: spec.slot(name).model_copy(update={"weights": f"run:{run}", "adapters": "merged"}) for name in SLOTS}
    return Spec.model_validate({**dict(spec), **said, "head": spec.head})
