"""The next actions regressed from the picture alone: behaviour cloning without a language model."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from workbench.heads.chunk_mlp import GRIP_WEIGHT
from workbench.heads.contract import mean_of_real
from workbench.objectives.contract import Objective, Pooled, Sizes
from workbench.objectives.moments import Signals
from workbench.policy import Policy

# B moments  K steps  A action dimensions, the gripper last


class ActionRegression(Objective):
    """L1 on the arm and cross-entropy on the gripper, as the policy's head has them (arXiv:2601.03309, §3.2).

    No instruction is read: what can be learned is what an action has in common whatever is asked for.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.shape = (sizes.chunk, sizes.actions)
        self.read = Pooled(sizes.dim, sizes.chunk * sizes.actions)

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        read_BKA = self.read(policy.vision(signals.image_BHWC)).unflatten(-1, self.shape)
        action_BKA, padded_BK = signals.actions(self.shape[0])
        arm_BK, grip_BK = action_errors(read_BKA, action_BKA)
        return {"arm": mean_of_real(arm_BK, padded_BK), "gripper": GRIP_WEIGHT * mean_of_real(grip_BK, padded_BK)}


def action_errors(read_BKA: Tensor, action_BKA: Tensor) -> tuple[Tensor, Tensor]:
    """`[B, K]` each: L1 on the arm, whose tanh is compared, and binary cross-entropy on the gripper's logit."""
    arm_BK = (read_BKA[..., :-1].tanh() - action_BKA[..., :-1]).abs().mean(-1)
    closed_BK = (action_BKA[..., -1] > 0).float()
    grip_BK = functional.binary_cross_entropy_with_logits(read_BKA[..., -1].float(), closed_BK, reduction="none")
    return arm_BK, grip_BK
