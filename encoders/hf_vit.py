"""A transformers vision tower that exists already, such as the native one of a backbone, as an encoder.

Shapes: B batch  C colours  H W = card.side  N image tokens  D encoder width  P prefix tokens
"""

from torch import Tensor, nn

from encoders.contract import Card, CardMismatch, Encoder
from encoders.torchvision_ops import ensure

ensure()  # transformers' vision models import torchvision

from transformers import PreTrainedModel  # noqa: E402
from transformers.modeling_layers import GradientCheckpointingLayer  # noqa: E402


class HfViT(Encoder):
    """Reads `last_hidden_state` of a vision tower (SiglipVisionModel, CLIPVisionModel, Dinov2Model, …).

    The tower is used as it is, not copied: its parameters appear under `tower.` and nothing is added to them. Whether
    a final norm is part of `last_hidden_state` is a fact of the tower's class (SigLIP and DINOv2: yes, CLIP: no) that
    the card states.
    """

    def __init__(self, card: Card, tower: PreTrainedModel) -> None:
        super().__init__(card)
        if card.layer != "last":
            raise CardMismatch(f"The card of '{card.name}' reads the {card.layer} layer; a tower is read at its last.")
        self.tower = tower
        if not self.blocks:
            raise CardMismatch(f"'{card.name}' has no transformer blocks in its {type(tower).__name__}.")

    @property
    def blocks(self) -> list[nn.Module]:
        """The tower's transformer blocks, first to last; transformers gives every block this base class."""
        return [module for module in self.tower.modules() if isinstance(module, GradientCheckpointingLayer)]

    def tokens(self, pixels_BCHW: Tensor) -> Tensor:
        """Normalised pixels → `[B, N, D]`; the tower casts them to its own precision."""
        seen_BMD = self.tower(pixel_values=pixels_BCHW).last_hidden_state
        return seen_BMD[:, self.card.prefix :]  # M = P + N
