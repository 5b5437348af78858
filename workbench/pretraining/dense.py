"""Dense targets for the vision tower: which things have their centre in a patch, and where in it.

The tower's first stage, as SigLIP or DINOv2 precede a VLM: it sees no words. The head is thrown away afterwards.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.pretraining.scenes import KINDS, SHADES, Scenes

CLASSES = 2 * len(SHADES) + 2
"""Every colour as block and as plate, the gripper, its shadow."""

# B scenes  N patches  C classes


class DenseHead(nn.Module):
    """Linear: for each patch and class a logit "its centre is here" and an offset from its middle, in patches."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, CLASSES * 3)

    def forward(self, seen_BND: Tensor) -> tuple[Tensor, Tensor]:
        out = self.linear(seen_BND).unflatten(-1, (CLASSES, 3))
        return out[..., 0], out[..., 1:]


def classes(scenes: Scenes) -> np.ndarray:
    """The dense class of every entity, `[B, M]`."""
    coloured = scenes.colour * 2 + scenes.kind
    bare = CLASSES - len(KINDS) + scenes.kind
    return np.where(scenes.colour >= 0, coloured, bare)


def dense_targets(scenes: Scenes, grid: int) -> tuple[Tensor, Tensor]:
    """`there [B, N, C]` (0 or 1) and `offset [B, N, C, 2]` in patches, for a `grid × grid` tower."""
    count = len(scenes)
    there = np.zeros((count, grid * grid, CLASSES), np.float32)
    offset = np.zeros((count, grid * grid, CLASSES, 2), np.float32)
    scene, entity = np.nonzero(scenes.shown)
    at = scenes.at[scene, entity] * grid
    cell = at.astype(int)
    patch, kind = cell[:, 1] * grid + cell[:, 0], classes(scenes)[scene, entity]
    there[scene, patch, kind] = 1
    offset[scene, patch, kind] = at - cell - 0.5
    return torch.from_numpy(there), torch.from_numpy(offset)


def dense_loss(head: DenseHead, seen_BND: Tensor, targets: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Cross-entropy summed over a scene's patches and classes, and the offset's smooth L1 where something is."""
    there, offset = targets
    logits, moved = head(seen_BND)
    presence = functional.binary_cross_entropy_with_logits(logits, there, reduction="none").sum((1, 2)).mean()
    error = functional.smooth_l1_loss(moved, offset, reduction="none", beta=0.1).sum(-1)
    return {"presence": presence / 4, "offset": 4 * (error * there).sum() / there.sum()}
