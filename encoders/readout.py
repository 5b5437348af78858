"""Another readout of an encoder than its source recommends: an edit from card to card, written `A#WORDS`."""

import math
from typing import Any

from encoders.contract import Card
from encoders.errors import UnknownEncoder, UnsupportedEncoder

READOUT = ("layer", "final_norm", "prefix", "kept", "tokens", "side")
"""What of a card says where it is read, and at which size it sees."""

WORDS = ("last", "penultimate", "norm", "no-norm", "prefix", "<side>px")


def read_at(facts: Card, words: str) -> Card:
    """The card with another layer, with or without the final norm, with its prefix tokens kept (`prefix`), or of
    pictures of another size (`56px`: timm resamples the position embeddings).

    Words are separated by commas; what none of them says stays. Raises `UnknownEncoder` for another word, and
    `UnsupportedEncoder` for what this encoder does not have.
    """
    name = f"{facts.name}#{words}"
    for word in words.split(","):
        facts = facts.model_copy(update=_change(facts, word))
    return facts.model_copy(update={"name": name})


def _change(facts: Card, word: str) -> dict[str, Any]:
    match word:
        case "last" | "penultimate":
            return {"layer": word}
        case "norm" | "no-norm":
            return {"final_norm": word == "norm"}
        case "prefix":
            return _kept(facts)
        case size if size.endswith("px") and size.removesuffix("px").isdecimal():
            return _sized(facts, int(size.removesuffix("px")))
        case _:
            raise UnknownEncoder(f"'{word}' is no readout of '{facts.name}'; choose of {', '.join(WORDS)}.")


def read_as(own: Card, other: Card) -> Card:
    """The card `own`, read as `other` is; of a fused encoder's member the prefix stays its own."""
    readout = ("layer", "final_norm") if len(other.mean) != len(own.mean) else READOUT
    return own.model_copy(update={name: getattr(other, name) for name in readout})


def _sized(facts: Card, side: int) -> dict[str, int]:
    """Side and number of tokens where the grid's patches stay as large as they are."""
    grid = math.isqrt(facts.tokens - facts.kept)
    patch = facts.side // grid
    if not facts.source.startswith("timm:") or grid**2 != facts.tokens - facts.kept or patch * grid != facts.side:
        raise UnsupportedEncoder(f"'{facts.name}' sees {facts.side} px and no other size: it has no grid of timm's.")
    if not side or side % patch:
        raise UnsupportedEncoder(
            f"'{facts.name}' has patches of {patch} px: its side is a multiple of that, not {side}."
        )
    return {"side": side, "tokens": (side // patch) ** 2 + facts.kept}


def _kept(facts: Card) -> dict[str, int]:
    if not facts.prefix or len(facts.mean) > 3:
        raise UnsupportedEncoder(f"'{facts.name}' has no prefix tokens that could be kept beside its grid.")
    return {"prefix": 0, "kept": facts.prefix, "tokens": facts.tokens + facts.prefix}
