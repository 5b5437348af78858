"""Behaviour cloning through the language model: the simplest control signal (VLM4VLA, arXiv:2601.03309, §4.4).

With the actions of other moments it is its own negative control: the same frames, words, steps and action statistics,
and nothing to learn of what an action has to do with a picture.
"""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from workbench.imitate import Batch, imitation_loss
from workbench.objectives.contract import Objective
from workbench.objectives.moments import Signals
from workbench.policy import Policy


class BehaviourCloning(Objective):
    """The policy's own loss on the next actions, or on those of another moment: of the same task, or of any."""

    def __init__(self, actions_of: Literal["itself", "same task", "any task"] = "itself") -> None:
        super().__init__()
        self.actions_of = actions_of

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        acting = signals
        if self.actions_of != "itself":
            acting = signals.elsewhere(same_task=self.actions_of == "same task")
        action_BKA, padded_BK = acting.actions(policy.head.chunk)
        batch = Batch(signals.image_BHWC, signals.words, action_BKA, padded_BK, signals.frames)
        return imitation_loss(policy, batch)
