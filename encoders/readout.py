"""Another readout of an encoder than its source recommends: an edit from card to card, written `A#WORDS`."""

from typing import Any

from encoders.contract import Card
from encoders.errors import UnknownEncoder, UnsupportedEncoder

READOUT = ("layer", "final_norm", "prefix", "kept", "tokens")
"""What of a card says where it is read."""

WORDS = ("last", "penultimate", "norm", "no-norm", "prefix")


def read_at(facts: Card, words: str) -> Card:
    """The card with another layer, with or without the final norm, or with its prefix tokens kept (`prefix`).

    Words are separated by commas; what none of them says stays. Raises `UnknownEncoder` for another word, and
    `UnsupportedEncoder` for what this encoder does not have.
    """
    changes: dict[str, Any] = {}
    for word in words.split(","):
        match word:
            case "last" | "penultimate":
                changes["layer"] = word
            case "norm" | "no-norm":
                changes["final_norm"] = word == "norm"
            case "prefix":
                changes |= _kept(facts)
            case _:
                raise UnknownEncoder(f"'{word}' is no readout of '{facts.name}'; choose of {', '.join(WORDS)}.")
    return facts.model_copy(update=changes | {"name": f"{facts.name}#{words}"})


def read_as(own: Card, other: Card) -> Card:
    """The card `own`, read as `other` is; of a fused encoder's member the prefix stays its own."""
    readout = ("layer", "final_norm") if len(other.mean) != len(own.mean) else READOUT
    return own.model_copy(update={name: getattr(other, name) for name in readout})


def _kept(facts: Card) -> dict[str, int]:
    if not facts.prefix or len(facts.mean) > 3:
        raise UnsupportedEncoder(f"'{facts.name}' has no prefix tokens that could be kept beside its grid.")
    return {"prefix": 0, "kept": facts.prefix, "tokens": facts.tokens + facts.prefix}
