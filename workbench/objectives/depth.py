"""How far away each part of the picture is: dense depth, as MiDaS (arXiv:1907.01341, §5) asks for it.

The paper takes scale and shift out of each picture, whose cameras it does not know. Here one camera stands still, so
that most of a depth map is the same table in every frame: scale and shift are taken out of each place instead.
"""

from collections.abc import Mapping
from math import ceil

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.objectives.contract import Given, Objective
from workbench.objectives.dense import Dense, grid_of
from workbench.objectives.moments import Signals
from workbench.policy import Policy

# B moments  N frames of the data  S values a side of a depth map

FLOOR = 0.01
"""Metres: what changes less at a place counts less. The table's edge flickers by a millimetre, things are 2 to 6 cm."""


class Depth(Objective):
    """Squared error on the depth map, each place of mean 0 and standard deviation 1 over the data.

    The mean map has a loss of about 1. Squared as the masked image is: L1 is content with the median, which is the
    empty table at nearly every place. After 200 steps of 32 moments it left 0.67 of held-out squares, and squares 0.39.
    The map is the simulator's, or a data set's own column of another size.
    """

    def __init__(self, given: Given) -> None:
        super().__init__()
        sizes, depth_NSS = given.sizes, given.moments.depth_NSS
        self.side = depth_NSS.shape[-1]
        detail = ceil(self.side / max(1, grid_of(sizes.tokens)))
        self.tell = nn.Sequential(nn.LayerNorm(sizes.dim), Dense(sizes, 1, detail=detail, coarse=self.side))
        self.mean_SS = nn.Buffer(torch.from_numpy(depth_NSS.mean(axis=0)), persistent=False)
        self.std_SS = nn.Buffer(torch.from_numpy(np.maximum(depth_NSS.std(axis=0), FLOOR)), persistent=False)

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        told_B1TT = self.tell(policy.vision(signals.image_BHWC)).float()
        told_BSS = functional.adaptive_avg_pool2d(told_B1TT, self.side).squeeze(1)
        return {"depth": functional.mse_loss(told_BSS, self.wanted_BSS(signals))}

    def wanted_BSS(self, signals: Signals) -> Tensor:
        """The depth maps, standardised."""
        return (signals.depth_BSS - self.mean_SS) / self.std_SS
