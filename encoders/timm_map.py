"""timm's networks that end in a feature map (ResNet, ConvNeXt, Swin, …) as an encoder: one token a position.

Shapes: B batch  C colours  H W = card.side  h w positions of the map  N = h·w image tokens  D channels of the map
"""

from typing import Any

from torch import Tensor, nn

from encoders.contract import Card, Encoder
from encoders.errors import CardMismatch


class TimmMap(Encoder):
    """Reads the unpooled map of the last stage (`forward_features`), row by row; owns the tower it is given."""

    def __init__(self, card: Card, tower: Any) -> None:
        super().__init__(card)
        if card.layer != "last" or card.prefix or card.final_norm:
            raise CardMismatch(f"'{card.name}' is a feature map: it is read at the last stage, as it is.")
        self.tower = tower

    @property
    def blocks(self) -> list[nn.Module]:
        """The stages, first to last: where timm takes its pyramid of features, without a parameter-free stem."""
        stages = [self.tower.get_submodule(info["module"]) for info in self.tower.feature_info]
        return [stage for stage in stages if any(True for _ in stage.parameters())]

    def tokens(self, pixels_BCHW: Tensor) -> Tensor:
        """Normalised pixels → `[B, N, D]`, in the tower's own precision."""
        map_BDhw = self.tower.forward_features(pixels_BCHW.to(next(self.tower.parameters()).dtype))
        if channels_last(self.tower):
            return map_BDhw.flatten(1, 2)
        return map_BDhw.flatten(2).transpose(1, 2)


def channels_last(tower: nn.Module) -> bool:
    """Whether timm says that the map is `[B, h, w, D]`; networks that say nothing give `[B, D, h, w]`."""
    return getattr(tower, "output_fmt", "NCHW") == "NHWC"
