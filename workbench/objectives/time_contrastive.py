"""What is near in time looks alike: time-contrastive (TCN, arXiv:1704.06888, §III-A; R3M, arXiv:2203.12601)."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from workbench.objectives.contract import Objective, Pooled, Sizes
from workbench.objectives.moments import Signals
from workbench.policy import Policy

# B moments  C = 2B candidates  F features of an embedding

NEAR = 1
"""Steps from a moment to its positive."""
FAR = 4
"""Steps from which on a picture of the same episode is a negative."""
TEMPERATURE = 0.1
"""Of the cosines, as in SimCLR (arXiv:2002.05709, Table 5)."""
FEATURES = 64


class TimeContrastive(Objective):
    """InfoNCE (arXiv:1807.03748, §2.3): which of the candidates is the picture NEAR steps later?

    Candidates are the pictures NEAR and FAR steps after every moment of the batch: of other episodes, and of the same
    one where they are FAR steps away or more; what is nearer and not the positive is left out. An encoder to which all
    pictures look alike can only guess, and has the logarithm of the number of candidates, so that collapse is no way
    out. At an episode's end the positive is the picture itself.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.embed = Pooled(sizes.dim, FEATURES)

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        shown = torch.cat([signals.image_BHWC, signals.later_BHWC(NEAR), signals.later_BHWC(FAR)])
        embedded = functional.normalize(self.embed(policy.vision(shown)).float(), dim=-1)
        now_BF, candidate_CF = embedded.tensor_split([len(signals.frames)])
        right_B = torch.arange(len(now_BF), device=now_BF.device)
        alike_BC = (now_BF @ candidate_CF.T / TEMPERATURE).masked_fill(_undecided(signals), -torch.inf)
        return {"contrast": functional.cross_entropy(alike_BC, right_B)}


def _undecided(signals: Signals) -> Tensor:
    """`[B, C]`, true for a candidate that is neither the moment's positive nor a negative."""
    left_B, episode_B = signals.left_B, signals.episode_B
    left_C = torch.cat([(left_B - NEAR).clamp(min=0), (left_B - FAR).clamp(min=0)])
    same_BC = episode_B[:, None] == episode_B.repeat(2)
    undecided_BC = same_BC & ((left_B[:, None] - left_C).abs() < FAR)
    return undecided_BC & ~torch.eye(*undecided_BC.shape, dtype=torch.bool, device=signals.device)
