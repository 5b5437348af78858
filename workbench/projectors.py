"""The projector slot: encoder width in, language width out. Both are derived, never configured."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.contract import Card
from workbench.errors import unknown
from workbench.reader import Reader

# B batch  N image tokens  D encoder width  E language width  T latents  W width of the resampler


class Pointwise(nn.Module):
    """The same layers on every token; before them, where `tokens` is given, that many are made by pooling."""

    def __init__(self, layers: nn.Sequential, tokens: int | None):
        super().__init__()
        self.layers = layers
        self.tokens = tokens

    def forward(self, seen_BND: Tensor) -> Tensor:
        return self.layers(seen_BND if self.tokens is None else pooled(seen_BND, self.tokens))


class Resampler(nn.Module):
    """Learned latents that read the image tokens: a perceiver resampler (Flamingo, arXiv:2204.14198, §3.1.1)."""

    def __init__(self, seen: int, width: int, *, tokens: int):
        super().__init__()
        inner = min(1024, math.ceil(width / 64) * 64)
        self.latents_TW = nn.Parameter(torch.randn(tokens, inner))
        self.first, self.second = Reader(inner, seen), Reader(inner, seen)
        self.layers = nn.Sequential(nn.LayerNorm(inner), nn.Linear(inner, width))

    def forward(self, seen_BND: Tensor) -> Tensor:
        tokens_BTW = self.latents_TW.expand(len(seen_BND), -1, -1)
        for reader in (self.first, self.second):
            tokens_BTW = reader(tokens_BTW, reader.remember(seen_BND))
        return self.layers(tokens_BTW)


def pooled(seen_BND: Tensor, tokens: int) -> Tensor:
    """`[B, tokens, D]`: averages of neighbours; where that is more than there are, tokens are repeated.

    Neighbours lie on the grid (row by row) where both numbers are squares, else along the sequence.
    """
    edge, wanted = math.isqrt(seen_BND.shape[1]), math.isqrt(tokens)
    if (edge**2, wanted**2) != (seen_BND.shape[1], tokens):
        return functional.adaptive_avg_pool1d(seen_BND.transpose(1, 2), tokens).transpose(1, 2)
    grid_BDHW = seen_BND.unflatten(1, (edge, edge)).permute(0, 3, 1, 2)
    return functional.adaptive_avg_pool2d(grid_BDHW, wanted).flatten(2).transpose(1, 2)


def _linear(card: Card, width: int, tokens: int) -> Pointwise:
    """LayerNorm and one linear map."""
    return Pointwise(nn.Sequential(nn.LayerNorm(card.dim), nn.Linear(card.dim, width)), _wanted(card, tokens))


def _mlp(card: Card, width: int, tokens: int) -> Pointwise:
    """LayerNorm and two linear maps with a GELU between (the projector of LLaVA-1.5, arXiv:2310.03744)."""
    first, second = nn.Linear(card.dim, width), nn.Linear(width, width)
    return Pointwise(nn.Sequential(nn.LayerNorm(card.dim), first, nn.GELU(), second), _wanted(card, tokens))


def _resampler(card: Card, width: int, tokens: int) -> Resampler:
    return Resampler(card.dim, width, tokens=tokens)


def _wanted(card: Card, tokens: int) -> int | None:
    """None where the encoder gives that many tokens already."""
    return None if tokens == card.tokens else tokens


PROJECTORS: dict[str, Callable[[Card, int, int], Pointwise | Resampler]] = {
    "linear": _linear,
    "mlp": _mlp,
    "resampler": _resampler,
}


def build_projector(name: str, card: Card, *, width: int, scale: float, tokens: int) -> nn.Module:
    """A new projector that gives `tokens` tokens for each image of the encoder that `card` describes.

    They start at root mean square `scale`: that of the text embeddings beside them.
    """
    if name not in PROJECTORS:
        raise unknown("projector", name, ["native", *PROJECTORS])
    projector = PROJECTORS[name](card, width, tokens)
    last = projector.layers[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        now = projector(torch.randn(1, 256, card.dim)).pow(2).mean().sqrt()
        last.weight.mul_(scale / now)
    return projector


def image_tokens(projector: nn.Module, card: Card) -> int:
    """How many tokens a projector gives for each image of the encoder that `card` describes."""
    alike = copy.deepcopy(projector).float()  # what is frozen and what is trained may differ in precision
    with torch.no_grad():
        return alike(next(alike.parameters()).new_zeros(1, card.tokens, card.dim)).shape[1]
