"""What each token tells of its own part of the picture: the decoder of objectives whose target is a map."""

from math import isqrt

from torch import Tensor, nn

from workbench.objectives.contract import Pooled, Sizes

# B moments  C channels  N image tokens  D encoder width  T values a side of what is told


class Dense(nn.Module):
    """Tokens [B, N, D] → [B, C, T, T]: a token tells `detail` × `detail` values of its cell, by one linear layer.

    Tokens that are no square grid tell the whole map together, `coarse` values a side.
    """

    def __init__(self, sizes: Sizes, channels: int, *, detail: int, coarse: int) -> None:
        super().__init__()
        grid = grid_of(sizes.tokens)
        if grid:
            self.side = grid * detail
            self.tell = nn.Sequential(
                nn.Linear(sizes.dim, channels * detail**2),
                Transposed(),
                nn.Unflatten(2, (grid, grid)),
                nn.PixelShuffle(detail),
            )
        else:
            self.side = coarse
            pooled = Pooled(sizes.dim, channels * coarse**2)
            self.tell = nn.Sequential(pooled, nn.Unflatten(1, (channels, coarse, coarse)))

    def forward(self, seen_BND: Tensor) -> Tensor:
        return self.tell(seen_BND)


class Transposed(nn.Module):
    """[B, N, D] → [B, D, N]."""

    def forward(self, tokens_BND: Tensor) -> Tensor:
        return tokens_BND.transpose(1, 2)


def grid_of(tokens: int) -> int:
    """Tokens a side where they are a square grid of more than one; 0 where they are none."""
    side = isqrt(tokens)
    return side if side > 1 and side**2 == tokens else 0
