"""Two encoders side by side, their channels concatenated token by token (Prismatic VLMs, arXiv:2402.07865, §4.3).

Shapes: B batch  C colours, three for each of the two  H W = card.side  N image tokens  D = sum of both widths
"""

import torch
from torch import Tensor, nn

from encoders.contract import Card, Encoder
from encoders.errors import CardMismatch

SHARED = ("side", "tokens", "interpolation", "resize", "layer", "final_norm")
"""What of two cards must be equal: the same frame, the same grid of tokens, the same readout."""


class Fused(Encoder):
    """`first` sees the first three channels of the pixels, under its own statistics, and `second` the others."""

    def __init__(self, card: Card, first: Encoder, second: Encoder) -> None:
        super().__init__(card)
        self.first = first
        self.second = second

    @property
    def blocks(self) -> list[nn.Module]:
        """Pairs of blocks, counted from the readout: the last of both, the last but one of both, …"""
        pairs: list[nn.Module] = []
        depth = max(len(self.first.blocks), len(self.second.blocks))
        for back in range(depth, 0, -1):
            pairs.append(
                nn.ModuleList(
                    member.blocks[-back] for member in (self.first, self.second) if back <= len(member.blocks)
                )
            )
        return pairs

    def tokens(self, pixels_BCHW: Tensor) -> Tensor:
        """Normalised pixels → `[B, N, D]`."""
        split = len(self.first.card.mean)
        seen_BND = [self.first.tokens(pixels_BCHW[:, :split]), self.second.tokens(pixels_BCHW[:, split:])]
        return torch.cat(seen_BND, dim=-1)


def fused_card(first: Card, second: Card) -> Card:
    """The card of both together; raises `CardMismatch` where they do not share the frame, the grid or the readout."""
    different = [name for name in SHARED if getattr(first, name) != getattr(second, name)]
    if different:
        stated = "; ".join(f"{name} {getattr(first, name)} and {getattr(second, name)}" for name in different)
        raise CardMismatch(f"'{first.name}' and '{second.name}' cannot be fused token by token: {stated}.")
    return first.model_copy(
        update={
            "name": f"fused:{first.name}+{second.name}",
            "source": f"fused:{first.source}+{second.source}",
            "dim": first.dim + second.dim,
            "mean": first.mean + second.mean,
            "std": first.std + second.std,
            "prefix": first.prefix + second.prefix,
            "paper": "https://arxiv.org/abs/2402.07865",
            "licence": f"{first.licence}; {second.licence}",
        }
    )
