"""How a place in the picture is written for a backbone: by its own location tokens where it has any."""

from collections.abc import Callable

import numpy as np

from workbench.backbones.contract import Backbone
from workbench.pretraining.questions import LOCATIONS, place

BINS = 1024
"""PaliGemma's, along either axis (arXiv:2407.07726, §3.1)."""


def places(backbone: Backbone) -> Callable[[np.ndarray], str]:
    """From image coordinates 0 … 1, x then y: `<loc05><loc17>`, PaliGemma's `<loc0548><loc0160>`, or `(0.16, 0.54)`."""
    if _has_token(backbone, LOCATIONS[0]):
        return place
    return paligemma_place if _has_token(backbone, "<loc0000>") else written_place


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
