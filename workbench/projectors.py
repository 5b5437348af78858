"""The projector slot: encoder width in, language width out. Both are derived, never configured."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from workbench.errors import unknown


class Linear(nn.Module):
    """LayerNorm and one linear map."""

    def __init__(self, seen: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(seen), nn.Linear(seen, width))

    def forward(self, seen_BND: Tensor) -> Tensor:
        return self.layers(seen_BND)


class Mlp(nn.Module):
    """LayerNorm and two linear maps with a GELU between (the projector of LLaVA-1.5, arXiv:2310.03744)."""

    def __init__(self, seen: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(seen), nn.Linear(seen, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, seen_BND: Tensor) -> Tensor:
        return self.layers(seen_BND)


PROJECTORS: dict[str, Callable[[int, int], Linear | Mlp]] = {"linear": Linear, "mlp": Mlp}


def build_projector(name: str, seen: int, *, width: int, scale: float) -> nn.Module:
    """A new projector whose outputs start at root mean square `scale`: that of the text embeddings beside them."""
    if name not in PROJECTORS:
        raise unknown("projector", name, ["native", *PROJECTORS])
    projector = PROJECTORS[name](seen, width)
    last = projector.layers[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        now = projector(torch.randn(256, seen)).pow(2).mean().sqrt()
        last.weight.mul_(scale / now)
    return projector
