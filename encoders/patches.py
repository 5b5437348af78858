"""The frame itself as tokens: what an encoder is worth is what it adds to this. No parameters.

Shapes: B batch  C = 3 colours  H W = card.side  N image tokens  D = 3·patch² numbers a patch
"""

from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.contract import Card, Encoder
from encoders.errors import CardMismatch


class RawPatches(Encoder):
    """Each token is the normalised pixels of one square patch, colour by colour, row by row."""

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.patch = isqrt(card.dim // 3)
        if 3 * self.patch**2 != card.dim or card.tokens * self.patch**2 != card.side**2:
            raise CardMismatch(
                f"The card of '{card.name}' states {card.tokens} patches of {card.dim} numbers, "
                f"which do not tile {card.side} × {card.side} pixels in three colours."
            )
        # follows `.to(dtype)`, so that the tokens have the precision of the modules beside this one
        self.like: Tensor
        self.register_buffer("like", torch.empty(0), persistent=False)

    @property
    def blocks(self) -> list[nn.Module]:
        """None: there is nothing to train."""
        return []

    def tokens(self, pixels_BCHW: Tensor) -> Tensor:
        """Normalised pixels → `[B, N, D]`."""
        return functional.pixel_unshuffle(pixels_BCHW, self.patch).flatten(2).transpose(1, 2).to(self.like.dtype)
