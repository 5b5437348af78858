"""Behaviour cloning through the language model: the simplest control signal (VLM4VLA, arXiv:2601.03309, §4.4).

It is its own negative control in two ways. With the actions of other moments: the same frames, words, steps and action
statistics, and nothing to learn of what an action has to do with a picture. With pictures of one colour: the language
model learns what words and actions have in common, and the encoder has nothing to see.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from workbench.objectives.contract import Given, Objective
from workbench.objectives.moments import Signals
from workbench.policy import Policy
from workbench.training.imitate import Batch, imitation_loss


class BehaviourCloning(Objective):
    """The policy's own loss on the next actions, or on those of another moment: of the same task, or of any.

    `colour` (red, green, blue; uint8) is what is shown all over each picture, if not the picture itself.
    """

    def __init__(
        self, actions_of: Literal["itself", "same task", "any task"] = "itself", *, colour: Tensor | None = None
    ) -> None:
        super().__init__()
        self.actions_of = actions_of
        self.colour = colour

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        acting = signals
        if self.actions_of != "itself":
            acting = signals.elsewhere(same_task=self.actions_of == "same task")
        action_BKA, padded_BK = acting.actions(policy.head.chunk)
        image_BHWC = signals.image_BHWC
        if self.colour is not None:
            image_BHWC = self.colour.to(image_BHWC.device).expand_as(image_BHWC)
        return imitation_loss(policy, Batch(image_BHWC, signals.words, action_BKA, padded_BK, signals.frames))


def language_only(given: Given) -> BehaviourCloning:
    """Of pictures that are the data's mean colour."""
    mean_C = given.moments.frames.image.mean(axis=(0, 1, 2)).round()
    return BehaviourCloning(colour=torch.from_numpy(mean_C).to(torch.uint8))
