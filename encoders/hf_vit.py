"""A transformers vision tower that exists already, such as the native one of a backbone, as an encoder.

Shapes: B batch  C colours  H W = card.side  N image tokens  D encoder width  P prefix tokens
"""

from torch import Tensor, nn

from encoders.contract import Card, Encoder
from encoders.errors import CardMismatch
from encoders.torchvision_ops import ensure
from encoders.unread import TOWER, keep_unread, unread_parameters

ensure()  # transformers' vision models import torchvision

from transformers import PreTrainedModel  # noqa: E402
from transformers.modeling_layers import GradientCheckpointingLayer  # noqa: E402


class HfViT(Encoder):
    """Reads `last_hidden_state` of a vision tower (SiglipVisionModel, CLIPVisionModel, Dinov2Model, …).

    The tower is used as it is, not copied: its parameters appear under `tower.` and nothing is added to them. Where
    the card reads the penultimate layer, the last block is taken out of the tower; where it states no final norm and
    the class has one in `last_hidden_state` (SigLIP and DINOv2: yes, CLIP: no), that is taken out too.
    """

    def __init__(self, card: Card, tower: PreTrainedModel) -> None:
        super().__init__(card)
        self.tower = tower
        if not self.blocks:
            raise CardMismatch(f"'{card.name}' has no transformer blocks in its {type(tower).__name__}.")
        before = tower.state_dict()
        if card.layer == "penultimate":
            _drop_last_block(self.tower, self.blocks)
        norms = final_norms(self)
        if card.final_norm and not norms:
            raise CardMismatch(
                f"The card of '{card.name}' states a final norm, but its {type(tower).__name__} has none."
            )
        for name in [] if card.final_norm else norms:
            _replace(self.tower, name)
        keep_unread(self, before)

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks that are read, first to last; transformers gives every block this base class."""
        return [module for module in self.tower.modules() if isinstance(module, GradientCheckpointingLayer)]

    def tokens(self, pixels_BCHW: Tensor) -> Tensor:
        """Normalised pixels → `[B, N, D]`; the tower casts them to its own precision."""
        seen_BMD = self.tower(pixel_values=pixels_BCHW).last_hidden_state
        return seen_BMD[:, self.card.prefix :]  # M = P + N


def final_norms(encoder: HfViT) -> set[str]:
    """The tower's modules behind its blocks that the tokens depend on: the norm of the last layer, if there is one."""
    last = {id(p) for p in encoder.blocks[-1].parameters()}
    unread = unread_parameters(encoder)
    names = list(encoder.tower.named_parameters())
    end = max(i for i, (_, p) in enumerate(names) if id(p) in last)
    return {name.rpartition(".")[0] for name, _ in names[end + 1 :] if TOWER + name not in unread}


def _drop_last_block(tower: nn.Module, blocks: list[nn.Module]) -> None:
    for holder in tower.modules():
        if isinstance(holder, nn.ModuleList) and len(holder) and holder[-1] is blocks[-1]:
            del holder[-1]
            return
    raise CardMismatch(f"The last block of a {type(tower).__name__} stands in no list, so that it cannot be left out.")


def _replace(tower: nn.Module, name: str) -> None:
    parent, _, last = name.rpartition(".")
    setattr(tower.get_submodule(parent), last, nn.Identity())
