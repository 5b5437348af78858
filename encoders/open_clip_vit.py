"""open_clip's own image towers as encoders. Those that open_clip takes from timm are read as timm's.

Shapes: B batch  C colours  H W = card.side  N image tokens  D encoder width  h w positions of a feature map
"""

import torch
from torch import Tensor, nn

from encoders.contract import Card, Encoder
from encoders.errors import CardMismatch
from encoders.torchvision_ops import ensure
from encoders.unread import keep_unread, take_out_unread

ensure()  # open_clip imports torchvision

from open_clip.modified_resnet import ModifiedResNet  # noqa: E402
from open_clip.transformer import VisionTransformer  # noqa: E402


class OpenClipViT(Encoder):
    """Reads open_clip's VisionTransformer at the card's layer; owns the tower it is given.

    Its class token is dropped, or stands first where the card keeps it.
    """

    def __init__(self, card: Card, tower: VisionTransformer) -> None:
        super().__init__(card)
        stated = {"side": (card.side, card.side), "prefix": card.prefix + card.kept, "dim": card.dim}
        found = {"side": tower.image_size, "prefix": 1, "dim": tower.conv1.out_channels}
        if stated != found:
            raise CardMismatch(f"The card of '{card.name}' states {stated}, but the tower has {found}.")
        before = tower.state_dict()
        read = {"last": -1, "penultimate": -2}[card.layer]
        tower.prune_intermediate_layers([read], prune_norm=not card.final_norm, prune_head=True)
        tower.attn_pool = None
        self.tower = tower
        keep_unread(self, before)

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks that are read, first to last."""
        return list(self.tower.transformer.resblocks.children())

    def tokens(self, pixels_BCHW: Tensor) -> Tensor:
        """Normalised pixels → `[B, N, D]`, in the tower's own precision."""
        seen = self.tower.forward_intermediates(
            pixels_BCHW.to(self.tower.conv1.weight.dtype),
            indices=[len(self.blocks) - 1],
            normalize_intermediates=self.card.final_norm,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        grid_BND = seen["image_intermediates"][0]
        return torch.cat([seen["image_intermediates_prefix"][0], grid_BND], dim=1) if self.card.kept else grid_BND


class OpenClipResNet(Encoder):
    """Reads the feature map before the attention pool of open_clip's ResNet, one token a position, row by row."""

    def __init__(self, card: Card, tower: ModifiedResNet) -> None:
        super().__init__(card)
        if card.layer != "last" or card.prefix or card.final_norm:
            raise CardMismatch(f"'{card.name}' is a feature map: it is read at the last stage, as it is.")
        self.tower = tower
        take_out_unread(self)

    @property
    def blocks(self) -> list[nn.Module]:
        """The stages, first to last."""
        return [self.tower.layer1, self.tower.layer2, self.tower.layer3, self.tower.layer4]

    def tokens(self, pixels_BCHW: Tensor) -> Tensor:
        """Normalised pixels → `[B, N, D]`, in the tower's own precision."""
        seen = self.tower.forward_intermediates(
            pixels_BCHW.to(self.tower.conv1.weight.dtype), indices=[4], intermediates_only=True
        )
        return seen["image_intermediates"][0].flatten(2).transpose(1, 2)
