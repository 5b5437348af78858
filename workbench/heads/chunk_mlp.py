"""A chunk of actions regressed from the query's hidden state, after VLM4VLA's head (arXiv:2601.03309, §3.2)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.actions import Actions
from workbench.backbones.contract import Hidden
from workbench.heads.contract import Chunk, Drawn, Head, mean_of_real

# B batch  E language width  K action steps  A action dimensions

GRIP_WEIGHT = 0.1
"""Weight of the gripper's cross-entropy beside the arm's error."""


class ChunkHead(Head):
    """An MLP for the arm (tanh) and, where the gripper is binary, one for it (logit).

    `forward(hidden_BE)` gives the arm in [-1, 1], `[B, K, A]` without a binary gripper, and `[B, K]` logits of its
    being closed.
    """

    def __init__(self, query_E: Tensor, *, chunk: int, actions: Actions):
        super().__init__(query_E, chunk=chunk)
        width = len(query_E)
        hidden = min(1024, 2 * width)
        self.trunk = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU())
        self.arm = nn.Sequential(
            nn.Linear(hidden, hidden // 2), nn.GELU(), nn.Linear(hidden // 2, chunk * actions.regressed)
        )
        self.grip: nn.Sequential | None = None
        if actions.binary_gripper:
            self.grip = nn.Sequential(nn.Linear(hidden, hidden // 4), nn.GELU(), nn.Linear(hidden // 4, chunk))

    def forward(self, hidden_BE: Tensor) -> tuple[Tensor, Tensor | None]:
        trunk = self.trunk(hidden_BE)
        arm_BKA = self.arm(trunk).tanh().unflatten(-1, (self.chunk, -1))
        return arm_BKA, None if self.grip is None else self.grip(trunk)

    def draw(self, action_BKA: Tensor) -> Drawn:
        """A regression draws nothing."""
        return ()

    def loss(
        self, hidden: Hidden, action_BKA: Tensor, padded_BK: Tensor, drawn: Drawn | None = None
    ) -> Mapping[str, Tensor]:
        """L1 on the arm (OpenVLA-OFT, arXiv:2502.19645) and binary cross-entropy on the gripper."""
        arm_BKA, grip_BK = self(hidden.query_BE)
        return chunk_errors(arm_BKA, grip_BK, action_BKA, padded_BK)

    def act(self, hidden: Hidden, noise: Sequence[torch.Generator]) -> Chunk:
        """A regression draws nothing."""
        arm_BKA, grip_BK = self(hidden.query_BE)
        return Chunk(arm_BKA.float(), None if grip_BK is None else grip_BK > 0)


def chunk_errors(
    arm_BKA: Tensor, grip_BK: Tensor | None, action_BKA: Tensor, padded_BK: Tensor
) -> Mapping[str, Tensor]:
    """L1 on what is regressed and, for a binary gripper, cross-entropy of its logits; padded steps are not counted."""
    arm_BK = (arm_BKA - action_BKA[..., : arm_BKA.shape[-1]]).abs().mean(-1)
    errors = {"arm": mean_of_real(arm_BK, padded_BK)}
    if grip_BK is None:
        return errors
    closed_BK = (action_BKA[..., -1] > 0).float()
    grip_BK = functional.binary_cross_entropy_with_logits(grip_BK, closed_BK, reduction="none")
    return {**errors, "gripper": GRIP_WEIGHT * mean_of_real(grip_BK, padded_BK)}
