"""timm's VisionTransformer as an encoder.

Shapes: B batch  C colours  H W = card.side  N image tokens  D encoder width  P prefix tokens
"""

from pathlib import Path
from typing import TypedDict

from torch import Tensor, nn

from encoders.contract import Card, CardMismatch, Encoder, Interpolation
from encoders.hub import weights_file
from encoders.torchvision_ops import ensure

ensure()  # timm imports torchvision

import timm  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402

PREFIX = "timm:"


class TimmFacts(TypedDict):
    """The part of a card that timm states for each set of weights."""

    source: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation
    licence: str


def timm_facts(model: str) -> TimmFacts:
    """timm's own statistics of `model` (architecture.tag), from its pretrained configuration."""
    facts = timm.get_pretrained_cfg(model, allow_unregistered=False)
    if facts is None or facts.interpolation not in ("bicubic", "bilinear"):
        raise CardMismatch(f"timm has no pretrained configuration that a card can state for '{model}'.")
    return TimmFacts(
        source=PREFIX + model,
        mean=_three(facts.mean),
        std=_three(facts.std),
        interpolation=facts.interpolation,
        licence=str(facts.license),
    )


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue


class TimmViT(Encoder):
    """Reads a timm VisionTransformer at the card's layer; owns the tower it is given.

    What lies behind the readout (later blocks, an unread norm, pooling and classifier) is taken out, so that every
    parameter left moves the tokens. Raises `CardMismatch` where tower and card disagree.
    """

    def __init__(self, card: Card, tower: VisionTransformer) -> None:
        super().__init__(card)
        _check(card, tower)
        read = {"last": -1, "penultimate": -2}[card.layer]
        tower.prune_intermediate_layers([read], prune_norm=not card.final_norm, prune_head=True)
        self.tower = tower

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks that are read, first to last."""
        return list(self.tower.blocks.children())

    def tokens(self, pixels_BCHW: Tensor) -> Tensor:
        """Normalised pixels → `[B, N, D]`, in the tower's own precision."""
        seen_BMD = self.tower.forward_features(pixels_BCHW.to(self.tower.patch_embed.proj.weight.dtype))
        return seen_BMD[:, self.card.prefix :]  # M = P + N


def _check(card: Card, tower: VisionTransformer) -> None:
    stated = {"side": (card.side, card.side), "prefix": card.prefix, "dim": card.dim}
    found = {"side": tower.patch_embed.img_size, "prefix": tower.num_prefix_tokens, "dim": tower.embed_dim}
    if stated != found:
        raise CardMismatch(f"The card of '{card.name}' states {stated}, but the tower has {found}.")
    if card.final_norm and isinstance(tower.norm, nn.Identity):
        raise CardMismatch(f"The card of '{card.name}' states a final norm, but the tower has none.")


def random_timm_vit(card: Card) -> TimmViT:
    """The architecture that the card names at the card's side, with timm's own initialisation (global generator)."""
    return TimmViT(card, _tower(card, None))


def pretrained_timm_vit(card: Card) -> TimmViT:
    """The same with timm's published weights, position embeddings resampled to the card's side.

    Raises `encoders.hub.WeightsMissing`.
    """
    facts = timm.get_pretrained_cfg(card.source.removeprefix(PREFIX), allow_unregistered=False)
    assert facts is not None and facts.hf_hub_id is not None, card.source
    return TimmViT(card, _tower(card, weights_file(facts.hf_hub_id)))


def _tower(card: Card, file: Path | None) -> VisionTransformer:
    tower = timm.create_model(
        card.source.removeprefix(PREFIX),
        pretrained=file is not None,
        pretrained_cfg_overlay={"file": str(file)} if file is not None else None,
        img_size=card.side,
        num_classes=0,
    )
    if not isinstance(tower, VisionTransformer):
        raise CardMismatch(f"'{card.source}' is a {type(tower).__name__}, not a VisionTransformer.")
    return tower
