"""The next actions regressed from the picture alone: behaviour cloning without a language model."""

from collections.abc import Mapping

from torch import Tensor

from workbench.actions import Actions
from workbench.heads.chunk_mlp import chunk_errors
from workbench.objectives.contract import Objective, Pooled, Sizes
from workbench.objectives.moments import Signals
from workbench.policy import Policy

# B moments  K steps  A action dimensions, a binary gripper last


class ActionRegression(Objective):
    """L1 on the arm and cross-entropy on the gripper, as the policy's head has them (arXiv:2601.03309, §3.2).

    No instruction is read: what can be learned is what an action has in common whatever is asked for.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.actions, self.chunk = sizes.actions, sizes.chunk
        self.read = Pooled(sizes.dim, sizes.chunk * sizes.actions.width)

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        read_BKA = self.read(policy.vision(signals.image_BHWC)).unflatten(-1, (self.chunk, self.actions.width))
        return action_errors(read_BKA, *signals.actions(self.chunk), actions=self.actions)


def action_errors(read_BKA: Tensor, action_BKA: Tensor, padded_BK: Tensor, *, actions: Actions) -> Mapping[str, Tensor]:
    """Of what is read, the arm's tanh and the logit of a binary gripper, as the policy's head has them."""
    grip_BK = read_BKA[..., -1].float() if actions.binary_gripper else None
    return chunk_errors(read_BKA[..., : actions.regressed].tanh(), grip_BK, action_BKA, padded_BK)
