"""How much of the episode is over, seen against its goal: the goal-conditioned value of VIP (arXiv:2210.00030, §4)."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from workbench.objectives.contract import Objective, Pooled, Sizes
from workbench.objectives.moments import Signals
from workbench.policy import Policy

# B moments  N image tokens  D encoder width


class Progress(Objective):
    """L1 on the share of the episode that is over, from the picture and the episode's last one.

    A regression and not VIP's own implicit loss, whose discount of 0.98 hardly bounds the embedding's scale in episodes
    of six steps, as those of `reach` are (one batch was overfitted to -1.49).
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.read = Pooled(2 * sizes.dim, 1)

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        pair_BND = torch.cat(policy.vision(torch.cat([signals.image_BHWC, signals.goal_BHWC])).chunk(2), dim=-1)
        return {"progress": functional.l1_loss(self.read(pair_BND).squeeze(-1), signals.progress_B)}
