"""Behaviour cloning through the language model: the simplest control signal (VLM4VLA, arXiv:2601.03309, §4.4)."""

from collections.abc import Mapping

from torch import Tensor

from workbench.imitate import Batch, imitation_loss
from workbench.objectives.contract import Objective
from workbench.objectives.moments import Signals
from workbench.policy import Policy


class BehaviourCloning(Objective):
    """The policy's own loss on the next actions: what finetuning does, on other episodes."""

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        action_BKA, padded_BK = signals.actions(policy.head.chunk)
        batch = Batch(signals.image_BHWC, signals.words, action_BKA, padded_BK, signals.frames)
        return imitation_loss(policy, batch)
