"""The vision slot of every family: transformers' own tower, read where the family reads it.

Shapes: B batch  C colours  H W = card.side  N image tokens  D encoder width
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from encoders.contract import Card, Encoder, Interpolation
from workbench.backbones.contract import blocks_of
from workbench.errors import UserError

Read = Callable[[nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class Pixels:
    """How a family normalises: of full brightness, and the filter that it resizes with."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation


HALVES = Pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")
IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic")
OPENAI = Pixels((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), "bicubic")


@dataclass(frozen=True)
class Origin:
    """What a card says of where a tower comes from."""

    name: str
    pixels: Pixels
    paper: str
    licence: str


class Tower(Encoder):
    """A native vision tower. It is used as it is, not copied: its parameters appear under `tower.`."""

    def __init__(self, card: Card, tower: nn.Module, read: Read) -> None:
        super().__init__(card)
        self.tower = tower
        self.read = read

    @property
    def blocks(self) -> list[nn.Module]:
        return blocks_of(self.tower)

    def tokens(self, pixels_BCHW: Tensor) -> Tensor:
        """Normalised pixels → `[B, N, D]`, cast to the tower's own precision."""
        return self.read(self.tower, pixels_BCHW.to(next(self.tower.parameters()).dtype))


@dataclass(frozen=True)
class Grid:
    """A square image cut into square patches: what decides a tower's tokens."""

    side: int
    patch: int
    dim: int

    @property
    def edge(self) -> int:
        """Patches along an edge."""
        return self.side // self.patch


def grid(vision: Any) -> Grid:
    """From a vision configuration of fixed resolution. Raises UserError for one that is not square."""
    side, patch = (_square(size) for size in (vision.image_size, vision.patch_size))
    return Grid(side, patch, vision.hidden_size)


def _square(size: int | list[int] | tuple[int, int]) -> int:
    if isinstance(size, int):
        return size
    if len(set(size)) != 1:
        raise UserError(f"A vision tower of images or patches of {size} pixels is not known, only squares are.")
    return size[0]


def native_card(origin: Origin, shape: Grid, **facts: Any) -> Card:
    """The card of a native tower: one token a patch and no prefix, unless `facts` say otherwise."""
    stated: dict[str, Any] = dict(
        name=f"{origin.name}/vision",
        source=f"transformers:{origin.name}",
        side=shape.side,
        tokens=shape.edge**2,
        dim=shape.dim,
        mean=origin.pixels.mean,
        std=origin.pixels.std,
        interpolation=origin.pixels.interpolation,
        layer="last",
        resize="squash",
        prefix=0,
        final_norm=True,
        paper=origin.paper,
        licence=origin.licence,
    )
    return Card(**(stated | facts))


def last_state(tower: nn.Module, pixels_BCHW: Tensor) -> Tensor:
    """`last_hidden_state`, every token."""
    return tower(pixel_values=pixels_BCHW).last_hidden_state


def last_patches(tower: nn.Module, pixels_BCHW: Tensor) -> Tensor:
    """`last_hidden_state` without the class token in front."""
    return last_state(tower, pixels_BCHW)[:, 1:]


def siglip(tower: Any, config: Any, origin: Origin) -> Tower:
    """SigLIP and what Idefics makes of it: the last layer after its norm; no class token, no pooling head."""
    drop_pooling(tower)
    return Tower(native_card(origin, grid(config.vision_config)), tower, last_state)


def drop_pooling(tower: Any) -> None:
    """SigLIP's pooling head reads nothing that a language model sees."""
    if getattr(tower, "use_head", False):
        tower.use_head = False
        del tower.head


def at_layer(tower: Any, config: Any, origin: Origin) -> Tower:
    """LLaVA's reading: the hidden states `vision_feature_layer`, before any final norm, with or without class token.

    The blocks behind that layer and the final norm feed nothing and are dropped.
    """
    vision, layer = config.vision_config, config.vision_feature_layer
    if vision.model_type not in ("clip_vision_model", "siglip_vision_model"):
        raise UserError(f"{origin.name!r} has a {vision.model_type!r} tower; LLaVA's are read with CLIP or SigLIP.")
    if layer not in (-1, -2):
        raise UserError(f"{origin.name!r} reads the vision layers {layer}; known are the last (-1) and the one before.")
    drop_pooling(tower)
    if layer == -2:
        tower.encoder.layers = tower.encoder.layers[:-1]
    tower.post_layernorm = nn.Identity()
    shape = grid(vision)
    prefixed = vision.model_type == "clip_vision_model"
    dropped = config.vision_feature_select_strategy == "default"
    facts = dict(
        layer="last" if layer == -1 else "penultimate",
        final_norm=False,
        tokens=shape.edge**2 + prefixed - dropped,
        prefix=int(dropped),
    )
    return Tower(native_card(origin, shape, **facts), tower, last_patches if dropped else last_state)


def square_edge(tokens: int) -> int:
    """The edge of a square of tokens. Raises ValueError for another number."""
    edge = math.isqrt(tokens)
    if edge * edge != tokens:
        raise ValueError(f"This projector merges tokens of a square grid; {tokens} are none.")
    return edge
