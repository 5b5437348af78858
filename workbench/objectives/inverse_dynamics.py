"""Which actions lie between two pictures: inverse dynamics (arXiv:1606.07419; as pretraining: arXiv:2305.16985)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from workbench.objectives.action_regression import action_errors
from workbench.objectives.contract import Objective, Pooled, Sizes
from workbench.objectives.moments import Signals
from workbench.policy import Policy

# B moments  N image tokens  D encoder width  K = GAP steps  A action dimensions

GAP = 2
"""Steps between the two pictures; an episode of `reach` has about six."""


class InverseDynamics(Objective):
    """The GAP actions that lead from one picture to the other, by the errors of action regression.

    Both pictures pass the same encoder, and their tokens are compared place by place. The action at an episode's last
    picture is not asked for, since no picture shows what it did; a moment that has no later picture counts nothing.
    Pairs are not reversed in time: an action undone is no normalised action negated, and a gripper does not undo.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.actions = sizes.actions
        self.read = Pooled(2 * sizes.dim, GAP * sizes.actions.width)

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        pair_BHWC = torch.cat([signals.image_BHWC, signals.later_BHWC(GAP)])
        pair_BND = torch.cat(policy.vision(pair_BHWC).chunk(2), dim=-1)
        action_BKA, _ = signals.actions(GAP)
        unseen_BK = signals.left_B[:, None] <= torch.arange(GAP, device=signals.device)
        read_BKA = self.read(pair_BND).unflatten(-1, (GAP, self.actions.width))
        return action_errors(read_BKA, action_BKA, unseen_BK, actions=self.actions)
