"""Which actions lie between two pictures: inverse dynamics (arXiv:1606.07419; as pretraining: arXiv:2305.16985)."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from workbench.actions import Actions
from workbench.data.description import Description, describe
from workbench.data.undone import undoes, undone
from workbench.errors import UserError
from workbench.heads.chunk_mlp import mean_of_real
from workbench.objectives.action_regression import action_errors
from workbench.objectives.contract import Given, Objective, Pooled, Sizes
from workbench.objectives.moments import Signals
from workbench.objectives.reversal import check_undoable, read_reversal
from workbench.policy import Policy

# B moments  N image tokens  D encoder width  K = GAP steps  A action dimensions  M those of them that move the arm

GAP = 2
"""Steps between the two pictures; an episode of `reach` has about six."""


class InverseDynamics(Objective):
    """The GAP actions that lead from one picture to the other, by the errors of action regression.

    Both pictures pass the same encoder, and their tokens are compared place by place. The action at an episode's last
    picture is not asked for, since no picture shows what it did; a moment that has no later picture counts nothing.

    With a description of the data's actions, which have to be displacements, each pair is shown backwards too, and the
    actions that lead back are asked for: the same ones undone, the last first. A gripper's are not, since what it does
    has no opposite.
    """

    def __init__(self, sizes: Sizes, backwards: Description | None = None) -> None:
        super().__init__()
        self.actions, self.backwards = sizes.actions, backwards
        self.read = Pooled(2 * sizes.dim, GAP * sizes.actions.width)

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        pair_BHWC = torch.cat([signals.image_BHWC, signals.later_BHWC(GAP)])
        now_BND, later_BND = policy.vision(pair_BHWC).chunk(2)
        action_BKA, _ = signals.actions(GAP)
        unseen_BK = signals.left_B[:, None] <= torch.arange(GAP, device=signals.device)
        errors = action_errors(self._read(now_BND, later_BND), action_BKA, unseen_BK, actions=self.actions)
        if self.backwards is None:
            return errors
        return {**errors, "undone": self._undone(self._read(later_BND, now_BND), signals, unseen_BK, self.backwards)}

    def _read(self, from_BND: Tensor, to_BND: Tensor) -> Tensor:
        read_BX = self.read(torch.cat([from_BND, to_BND], dim=-1))
        return read_BX.unflatten(-1, (GAP, self.actions.width))

    def _undone(self, read_BKA: Tensor, signals: Signals, unseen_BK: Tensor, description: Description) -> Tensor:
        """L1 on what moves the arm, as forwards: there are as many steps back."""

        def undo(action_BKA: np.ndarray) -> np.ndarray:
            return undone(action_BKA.reshape(-1, self.actions.width), description).reshape(action_BKA.shape)

        moves = [dimension for dimension in undoes(description) if dimension < self.actions.regressed]
        wanted_BKM = signals.backwards(GAP, undo)[..., moves]
        return mean_of_real((read_BKA[..., moves].tanh() - wanted_BKM).abs().mean(dim=-1), unseen_BK)


def inverse_dynamics(given: Given) -> InverseDynamics:
    """Forwards alone, or backwards too by the description that the choice names. UserError where it does not fit."""
    if not given.choice:
        return InverseDynamics(given.sizes)
    description = describe(read_reversal(given.choice))
    check_undoable(description)
    _check_fits(description, given.sizes.actions)
    return InverseDynamics(given.sizes, description)


def _check_fits(description: Description, actions: Actions) -> None:
    """A description of other data would undo the wrong numbers."""
    described, gripper = description.action, description.action.gripper
    last = gripper is not None and gripper.dimension == described.width - 1
    if described.width != actions.width or (actions.binary_gripper and not last):
        raise UserError(
            f"'{description.name}' describes actions of {described.width} numbers, its gripper "
            f"{'among them' if gripper and not last else 'last' if last else 'missing'}, and these demonstrations' are "
            f"{actions}: name the description that is theirs."
        )
