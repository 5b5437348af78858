"""How a place in the picture, or a level, is written for a backbone: by its own location tokens where it has any."""

from collections.abc import Callable, Sequence

import numpy as np

from workbench.backbones.contract import Backbone
from workbench.pretraining.questions import BINS as LEVELS
from workbench.pretraining.questions import LOCATIONS, place

BINS = 1024
"""PaliGemma's, along either axis (arXiv:2407.07726, §3.1)."""


def places(backbone: Backbone) -> Callable[[np.ndarray], str]:
    """From image coordinates 0 … 1, x then y: `<loc05><loc17>`, PaliGemma's `<loc0548><loc0160>`, or `(0.16, 0.54)`."""
    if _has_token(backbone, LOCATIONS[0]):
        return place
    return paligemma_place if _has_token(backbone, "<loc0000>") else written_place


def levels(backbone: Backbone) -> Callable[[Sequence[int]], str]:
    """From whole numbers, 31 at the most: `<loc12><loc10>`, PaliGemma's `<loc0384><loc0320>`, or `12 10`.

    One token a number, whose neighbours mean near numbers already. In digits the embedded backbone does not learn a row
    of depths in the demo's budget: 8 % of held-out rows were right, and 27.5 % are with these.
    """
    if _has_token(backbone, LOCATIONS[0]):
        return located_levels
    return paligemma_levels if _has_token(backbone, "<loc0000>") else written_levels


def located_levels(numbers: Sequence[int]) -> str:
    return "".join(LOCATIONS[min(number, LEVELS - 1)] for number in numbers)


def paligemma_levels(numbers: Sequence[int]) -> str:
    """Along the same axis as a place, of which each level is a thirty-second part."""
    return "".join(f"<loc{min(number, LEVELS - 1) * (BINS // LEVELS):04d}>" for number in numbers)


def written_levels(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


def paligemma_place(at: np.ndarray) -> str:
    """y first."""
    x, y = np.clip((at * BINS).astype(int), 0, BINS - 1)
    return f"<loc{y:04d}><loc{x:04d}>"


def written_place(at: np.ndarray) -> str:
    x, y = np.clip(at, 0.0, 1.0)
    return f"({x:.2f}, {y:.2f})"


def _has_token(backbone: Backbone, text: str) -> bool:
    """Whether the text is one token, and one that there is an embedding of: a processor may add more of them."""
    ids = backbone.answers([text]).ids_BT[0]
    return len(ids) == 2 and int(ids[0]) < len(next(backbone.embeddings.parameters()))
