"""The libraries whose models can be named; each is imported where one of its models is asked for (seconds each)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encoders.contract import Card, Encoder

Weights = Literal["pretrained", "random"]

LIBRARIES = ("timm", "open_clip", "hf")


@dataclass(frozen=True)
class Source:
    """How a library's model becomes a card, from its name, and an encoder, from a card and weights (or their file)."""

    card: Callable[[str], Card]
    build: Callable[[Card, Weights | Path], Encoder]


def library(name: str) -> Source:
    """One of `LIBRARIES`."""
    match name:
        case "timm":
            from encoders.timm_source import build_timm, timm_card

            return Source(timm_card, build_timm)
        case "open_clip":
            from encoders.open_clip_source import build_open_clip, open_clip_card

            return Source(open_clip_card, build_open_clip)
        case "hf":
            from encoders.hf_source import build_hf, hf_card

            return Source(hf_card, build_hf)
        case _:
            raise AssertionError(name)
