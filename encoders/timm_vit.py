"""timm's plain vision transformers as an encoder.

Shapes: B batch  C colours  H W = card.side  N image tokens  D encoder width  P prefix tokens
"""

from torch import Tensor, nn

from encoders.contract import Card, Encoder
from encoders.errors import CardMismatch
from encoders.torchvision_ops import ensure
from encoders.unread import keep_unread

ensure()  # timm imports torchvision

from timm.models.beit import Beit  # noqa: E402
from timm.models.eva import Eva  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402

Tower = VisionTransformer | Eva | Beit
"""Their `forward_features` returns the prefix and the patches of the last block; Eva is also DINOv3 and EVA-02."""


class TimmViT(Encoder):
    """Reads a timm transformer at the card's layer; owns the tower it is given.

    What lies behind the readout (later blocks, an unread norm, pooling and classifier) is taken out, so that every
    parameter left moves the tokens. Raises `CardMismatch` where tower and card disagree.
    """

    def __init__(self, card: Card, tower: Tower) -> None:
        super().__init__(card)
        _check(card, tower)
        read = {"last": -1, "penultimate": -2}[card.layer]
        before = tower.state_dict()
        tower.prune_intermediate_layers([read], prune_norm=not card.final_norm, prune_head=True)
        self.tower = tower
        keep_unread(self, before)

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks that are read, first to last."""
        return list(self.tower.blocks.children())

    def tokens(self, pixels_BCHW: Tensor) -> Tensor:
        """Normalised pixels → `[B, N, D]`, in the tower's own precision."""
        seen_BMD = self.tower.forward_features(pixels_BCHW.to(self.tower.patch_embed.proj.weight.dtype))
        return seen_BMD[:, self.card.prefix :]  # M = P + N


def _check(card: Card, tower: Tower) -> None:
    stated = {"side": (card.side, card.side), "prefix": card.prefix + card.kept, "dim": card.dim}
    found = {"side": tower.patch_embed.img_size, "prefix": tower.num_prefix_tokens, "dim": tower.embed_dim}
    if stated != found:
        raise CardMismatch(f"The card of '{card.name}' states {stated}, but the tower has {found}.")
    if card.final_norm and isinstance(tower.norm, nn.Identity):
        raise CardMismatch(f"The card of '{card.name}' states a final norm, but the tower has none.")
