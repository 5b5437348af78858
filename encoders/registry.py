"""Which encoders there are: one row each. A row is a registration."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, assert_never

import torch

from encoders import tiny
from encoders.contract import Card, Encoder
from encoders.hub import WeightsMissing
from encoders.timm_vit import pretrained_timm_vit, random_timm_vit, timm_facts

Weights = Literal["pretrained", "random"]


class UnknownEncoder(LookupError):
    """No row has this name; the message holds the name, the nearest one and all of them."""


@dataclass(frozen=True)
class Row:
    """A card, and how the module that it describes is made; `pretrained` is None where no weights were published."""

    card: Card
    random: Callable[[Card], Encoder]
    pretrained: Callable[[Card], Encoder] | None


def _timm(card: Card) -> Row:
    return Row(card, random_timm_vit, pretrained_timm_vit)


_CARDS = (
    # Read as its authors' code names it, `x_norm_patchtokens`: the last layer's patch tokens after the norm. 224 px is
    # the side of the main training phase; the published position embeddings (518 px) are resampled.
    Card(
        name="dinov2-small",
        side=224,
        tokens=256,
        dim=384,
        resize="squash",
        layer="last",
        prefix=1,
        final_norm=True,
        paper="https://arxiv.org/abs/2304.07193",
        **timm_facts("vit_small_patch14_dinov2.lvd142m"),
    ),
    # Read as PaliGemma does (https://arxiv.org/abs/2407.07726): all tokens of the last layer, before the pooling head.
    Card(
        name="siglip-base",
        side=224,
        tokens=196,
        dim=768,
        resize="squash",
        layer="last",
        prefix=0,
        final_norm=True,
        paper="https://arxiv.org/abs/2303.15343",
        **timm_facts("vit_base_patch16_siglip_224.webli"),
    ),
)

ENCODERS: dict[str, Row] = {"tiny": Row(tiny.CARD, tiny.tiny_vit, None)} | {card.name: _timm(card) for card in _CARDS}


def card(name: str) -> Card:
    """The card of an encoder; no module is built. Raises `UnknownEncoder`."""
    return _row(name).card


def build_encoder(name: str, *, weights: Weights, seed: int) -> Encoder:
    """An encoder on the CPU; random weights are a function of `seed` alone.

    The global generator is as it was afterwards. Raises `UnknownEncoder`, and `WeightsMissing` where pretrained
    weights are neither in the cache nor to be had.
    """
    row = _row(name)
    # timm initialises from the global generator; only the CPU's is touched, and put back
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        match weights:
            case "random":
                return row.random(row.card)
            case "pretrained":
                if row.pretrained is None:
                    raise WeightsMissing(f'No weights of "{name}" were published. Use weights = "random".')
                return row.pretrained(row.card)
            case _:
                assert_never(weights)


def _row(name: str) -> Row:
    if name not in ENCODERS:
        near = difflib.get_close_matches(name, ENCODERS, n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise UnknownEncoder(f"No encoder named '{name}'.{hint} Known: {', '.join(sorted(ENCODERS))}.")
    return ENCODERS[name]
