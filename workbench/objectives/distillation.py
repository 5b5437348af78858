"""Another encoder's features of the same frame (Theia, arXiv:2407.20179, §3), and the control: a random one's.

Theia has several teachers, each with a translation of its own: here that is a sum of objectives.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.contract import Encoder
from encoders.registry import build_encoder
from workbench.errors import encoder_errors
from workbench.objectives.contract import Given, Objective, Sizes
from workbench.objectives.moments import Signals
from workbench.policy import Policy

# B moments  N image tokens  D encoder width  M, F the teacher's

COSINE, SMOOTH_L1 = 0.9, 0.1
"""The weights that Theia is trained with."""


class Distillation(Objective):
    """Cosine and smooth L1 to the teacher's normalised features, through linear layers on width and, if need be, place.

    The teacher is of any width and number of tokens; it never moves.
    """

    def __init__(self, sizes: Sizes, teacher: Encoder) -> None:
        super().__init__()
        self.teacher = teacher.eval().requires_grad_(False)
        self.width = nn.Linear(sizes.dim, teacher.card.dim)
        same = sizes.tokens == teacher.card.tokens
        self.place = nn.Identity() if same else nn.Linear(sizes.tokens, teacher.card.tokens)

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        image_BHWC = signals.image_BHWC
        told_BMF = self.place(self.width(policy.vision(image_BHWC)).transpose(1, 2)).transpose(1, 2)
        with torch.no_grad():
            wanted_BMF = normalised(self.teacher(image_BHWC))
        cosine = 1 - functional.cosine_similarity(told_BMF, wanted_BMF, dim=-1).mean()
        return {"cosine": COSINE * cosine, "smooth-l1": SMOOTH_L1 * functional.smooth_l1_loss(told_BMF, wanted_BMF)}


def normalised(features_BMF: Tensor) -> Tensor:
    """Each feature of mean 0 and standard deviation 1 over the batch's tokens, where Theia takes all its data's."""
    std, mean = torch.std_mean(features_BMF.float(), dim=(0, 1), correction=0)
    return (features_BMF.float() - mean) / (std + 1e-6)


def distillation(given: Given) -> Distillation:
    """The teacher is the encoder of the objective's choice, with its published weights or those of a local file.

    What a `random:` or `shuffled:` one draws is drawn from torch's global generator. Raises UserError where there is
    no such encoder.
    """
    seed = int(torch.randint(2**31, ()))
    with encoder_errors():
        return Distillation(given.sizes, build_encoder(given.choice, weights="pretrained", seed=seed))


def random_distillation(sizes: Sizes) -> Distillation:
    """The teacher is a random `tiny` encoder, another for each seed (drawn from torch's global generator)."""
    seed = int(torch.randint(2**31, ()))
    return Distillation(sizes, build_encoder("tiny", weights="random", seed=seed))
