"""Whether the language model of the base still understands what the encoder shows it: pointing, on held-out frames."""

import numpy as np
import torch

from workbench.backbones.contract import Backbone
from workbench.objectives.turn import turn_scores
from workbench.policy import Policy
from workbench.probes.material import Material
from workbench.scene import read_scenes
from workbench.skills.contract import Known
from workbench.skills.places import levels, places
from workbench.skills.pointing import pointing

BATCH = 64


def pointing_score(policy: Policy, backbone: Backbone, material: Material) -> float:
    """Share of held-out frames on which a thing, or the gripper, is pointed to exactly.

    One question a frame, always the same. Exactly: every token of the place and its end is the likeliest one given
    those before it. Raises UserError where the data do not say where things are.
    """
    generator = np.random.default_rng(13)
    known = Known(material.frames, read_scenes(material.frames), places(backbone), levels(backbone))
    rows = material.row_N[material.parts.held_out_N]
    turns = [pointing(known, int(row), generator) for row in rows]
    device = next(policy.parameters()).device
    scores: list[float] = []
    for start in range(0, len(rows), BATCH):
        part = turns[start : start + BATCH]
        image_BHWC = torch.from_numpy(material.frames.image[rows[start : start + BATCH]]).to(device)
        asked, answers = [turn.question for turn in part], [turn.answer for turn in part]
        scores += turn_scores(policy, image_BHWC, asked, answers, backbone).tolist()
    return float(np.mean(scores))
