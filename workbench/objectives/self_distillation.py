"""Self-distillation without labels (DINO, arXiv:2104.14294, §3.1): two views of a frame are to look the same.

Views are moved and lit otherwise, of one size (no small crops). Prototypes are few, since frames of one robot differ
less than photographs do; for the same reason what is pooled is normalised over the batch, without which all frames
look alike to the teacher.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.augmentation import Augmentation
from workbench.objectives.augmented import draw_augmented
from workbench.objectives.contract import Given, Objective, Pooled
from workbench.objectives.moments import Signals
from workbench.policy import Policy

# B moments  H, W pixels  N image tokens  D encoder width  K prototypes

PROTOTYPES = 64
BOTTLENECK = 64
STUDENT_TEMPERATURE = 0.1
TEACHER_TEMPERATURE = 0.07
"""Sharper than the student: without it, every answer becomes the same. The paper's last; with its first, 0.04, seven of
the prototypes took all frames."""
CENTRE_MOMENTUM = 0.9
"""Without the centre, one prototype takes all."""
TEACHER_MOMENTUM = 0.98
"""The paper's 0.996 and more is for a hundred times as many steps."""
VIEWS = Augmentation(shift=8, brightness=0.4, contrast=0.4)


class Prototypes(nn.Module):
    """Tokens [B, N, D] → the cosine to each of K learned directions, [B, K]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pool = Pooled(dim, BOTTLENECK)
        self.directions_KH = nn.Parameter(torch.randn(PROTOTYPES, BOTTLENECK))

    def forward(self, seen_BND: Tensor) -> Tensor:
        pooled_BH = functional.batch_norm(self.pool(seen_BND).float(), None, None, training=True)
        return functional.normalize(pooled_BH, dim=-1) @ functional.normalize(self.directions_KH, dim=-1).T


class SelfDistillation(Objective):
    """Cross-entropy of the student's prototypes for one view against the teacher's for the other, both ways.

    The teacher is a moving average of encoder and projection: at the beginning of each loss in training mode it follows
    the step that was taken since, and the centre follows at the end. Both stay as they are in eval mode.
    """

    def __init__(self, given: Given) -> None:
        super().__init__()
        self.project = Prototypes(given.sizes.dim)
        self.teacher = nn.ModuleList([copy.deepcopy(given.policy.vision), copy.deepcopy(self.project)])
        self.teacher.eval().requires_grad_(False)
        self.centre_K: Tensor
        self.register_buffer("centre_K", torch.zeros(PROTOTYPES))

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        if self.training:
            self._follow(policy)
        views = [view(signals.image_BHWC) for _ in range(2)]
        outputs = [self.taught_BK(view) for view in views]
        sure = [((output_BK - self.centre_K) / TEACHER_TEMPERATURE).softmax(dim=-1) for output_BK in outputs]
        told = [(self.project(policy.vision(view)) / STUDENT_TEMPERATURE).log_softmax(dim=-1) for view in views]
        if self.training:
            self.centre_K.lerp_(torch.cat(outputs).mean(dim=0), 1 - CENTRE_MOMENTUM)
        crossed = [-(sure[i] * told[1 - i]).sum(dim=-1).mean() for i in range(2)]
        return {"self-distillation": torch.stack(crossed).mean()}

    @torch.no_grad()
    def taught_BK(self, image_BHWC: Tensor) -> Tensor:
        """The teacher's cosines, before centre and temperature."""
        vision, project = self.teacher
        return project(vision(image_BHWC)).float()

    @torch.no_grad()
    def _follow(self, policy: Policy) -> None:
        for average, now in zip(self.teacher, (policy.vision, self.project), strict=True):
            for mine, value in zip(average.parameters(), now.parameters(), strict=True):
                mine.lerp_(value, 1 - TEACHER_MOMENTUM)
            for mine, value in zip(average.buffers(), now.buffers(), strict=True):
                mine.copy_(value)


def view(image_BHWC: Tensor) -> Tensor:
    """Each frame moved and lit otherwise; what is drawn is drawn on the CPU, the same on every device."""
    return draw_augmented(VIEWS, len(image_BHWC))(image_BHWC.cpu()).to(image_BHWC.device)
