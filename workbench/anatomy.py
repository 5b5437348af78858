"""What a backbone is made of: which parameters are in which slot, without reading or holding one of them.

The model is outlined on torch's meta device, so that 31 billion parameters take seconds and no memory, and only the
configuration is needed. Which parameter is in which slot is not declared but seen: by taking the outline apart.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn

from encoders.contract import Encoder
from workbench.backbones.conventions import conventional
from workbench.backbones.family import Slots, take_apart
from workbench.backbones.registry import FAMILIES, model_class, origin, read_config
from workbench.backbones.source import folder
from workbench.errors import encoder_errors

RowName = Literal["vision", "projector", "embeddings", "language", "head", "replaced", "unused", "tied"]


@dataclass(frozen=True)
class Part:
    """One row. `paths` are the modules that freezing the slot freezes, as the model itself names them."""

    slot: RowName
    parameters: int
    paths: tuple[str, ...]
    width: int | None = None
    """Channels of what the slot gives."""
    tokens: int | None = None
    """Tokens that the slot gives for one image."""
    side: int | None = None
    """Pixels along an edge of the image that the slot sees."""
    blocks: int | None = None
    attention: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Anatomy:
    """A backbone's rows; their parameters add up to `total_parameters`, tied ones (`parameters` 0) counted once."""

    backbone: str
    family: str
    listed: bool
    """Whether the family is a row of `FAMILIES`; if not, its slots are checked only when its weights are loaded."""
    total_parameters: int
    slots: tuple[Part, ...]
    passes: tuple[str, ...]

    def slot(self, name: RowName) -> Part:
        return next(part for part in self.slots if part.slot == name)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `--format json`; `freeze_vision` says once more what that tune freezes."""
        frozen = self.slot("vision")
        return asdict(self) | {"freeze_vision": {"parameters": frozen.parameters, "paths": list(frozen.paths)}}


def anatomy(name: str, *, vision: str | None = None) -> Anatomy:
    """The slots of the backbone `name`, with the encoder `vision` in place of its own where one is named.

    Needs the configuration alone, no weights. Raises UserError for a name or a family that cannot be used.
    """
    config = read_config(folder(name), name)
    with torch.device("meta"):
        model = model_class(config, name)(config)
        family = FAMILIES.get(config.model_type) or conventional(model, name)
        names = _names(model)
        slots = take_apart(model, family, origin(name, family, family.pixels), image_at=0)
        parts = _native_parts(slots, names, family.vision_attention(config))
        if vision is not None:
            parts = _with_encoder(parts, vision, slots)
    own = (slots.vision, slots.projector, slots.embeddings, slots.language)  # an untied head is no part of a policy
    held = {id(p) for slot in own for p in slot.parameters()}
    rest = [key for key in names if key not in held]
    parts += [
        Part("head", 0, (), note="new with every policy: not part of the backbone"),
        _apart("unused", sum(names[key].size for key in rest), [n for key in rest for n in names[key].names], names),
        _apart("tied", 0, [n for parameter in names.values() for n in parameter.names[1:]], names),
    ]
    total = sum(part.parameters for part in parts)
    return Anatomy(name, family.title, config.model_type in FAMILIES, total, tuple(parts), slots.language.passes)


@dataclass(frozen=True)
class Named:
    """A parameter's names in the whole model (more than one where it is tied) and its size."""

    names: tuple[str, ...]
    size: int


def _names(model: nn.Module) -> dict[int, Named]:
    """By the parameter's identity. A tied parameter is first named where the language model embeds with it."""
    known: dict[int, list[str]] = defaultdict(list)
    sizes = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        known[id(parameter)].append(name)
        sizes[id(parameter)] = parameter.numel()
    return {key: Named(tuple(sorted(names, key=lambda n: "head" in n)), sizes[key]) for key, names in known.items()}


def _native_parts(slots: Slots, names: dict[int, Named], vision_attention: str) -> list[Part]:
    card, width = slots.vision.card, slots.language.width
    seen_BND = torch.zeros(1, card.tokens, card.dim)
    with torch.no_grad():
        given_BNE = slots.projector(seen_BND)
    facts: dict[RowName, dict[str, Any]] = {
        "vision": _encoder_facts(slots.vision) | {"attention": vision_attention},
        "projector": {"width": given_BNE.shape[-1], "tokens": given_BNE.shape[1]},
        "embeddings": {"width": width},
        "language": {
            "width": width,
            "blocks": len(slots.language.blocks),
            "attention": "; ".join(line for line in slots.language.passes if line.startswith("attention_mask")),
        },
    }
    parts = []
    for slot, given in facts.items():
        named = [names[id(parameter)] for parameter in getattr(slots, slot).parameters()]
        first, size = [one.names[0] for one in named], sum(one.size for one in named)
        parts.append(Part(slot, size, _paths(first, _all_names(names)), **given))
    return parts


def _with_encoder(parts: list[Part], name: str, slots: Slots) -> list[Part]:
    """Another encoder and a new projector as a study makes them by default; the native two are `replaced`."""
    from encoders.registry import build_encoder
    from workbench.projectors import build_projector

    with encoder_errors():
        encoder = build_encoder(name, weights="random", seed=0)
    card, width = encoder.card, slots.language.width
    projector = build_projector("mlp", card, width=width, scale=1.0, tokens=card.tokens)
    native = [part for part in parts if part.slot in ("vision", "projector")]
    return [
        Part("vision", _size(encoder), (card.source,), **_encoder_facts(encoder)),
        Part("projector", _size(projector), (), width=width, tokens=card.tokens, note="new: mlp, tokens kept"),
        *[part for part in parts if part not in native],
        Part("replaced", sum(p.parameters for p in native), tuple(path for p in native for path in p.paths)),
    ]


def _encoder_facts(encoder: Encoder) -> dict[str, Any]:
    card = encoder.card
    return {"width": card.dim, "tokens": card.tokens, "side": card.side, "blocks": len(encoder.blocks)}


def _apart(slot: RowName, parameters: int, own: list[str], names: dict[int, Named]) -> Part:
    return Part(slot, parameters, _paths(own, _all_names(names)))


def _all_names(names: dict[int, Named]) -> list[str]:
    return [name for parameter in names.values() for name in parameter.names]


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _paths(own: Iterable[str], every: Iterable[str]) -> tuple[str, ...]:
    """The fewest module paths that hold all of `own` and nothing else of `every`."""
    inside, outside = set(own), set(every)
    outside -= inside
    foreign = {prefix for name in outside for prefix in _prefixes(name)}
    found = dict.fromkeys(next(p for p in _prefixes(name) if p not in foreign) for name in sorted(inside, key=_natural))
    return tuple(found)


def _prefixes(name: str) -> list[str]:
    """`a.b.c` → `a`, `a.b`, `a.b.c`."""
    pieces = name.split(".")
    return [".".join(pieces[: i + 1]) for i in range(len(pieces))]


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sorts layer 2 before layer 10."""
    return [(piece.isdigit(), int(piece) if piece.isdigit() else 0, piece) for piece in name.split(".")]


def brief(paths: Iterable[str]) -> list[str]:
    """Numbered siblings as one: `layers.0`, `layers.1`, `layers.2` → `layers.0–2`."""
    runs: dict[str, list[int]] = {}
    for path in paths:
        numbered = re.fullmatch(r"(.+)\.(\d+)", path)
        runs.setdefault(numbered[1] + "." if numbered else path, []).append(int(numbered[2]) if numbered else -1)
    return [
        stem if numbers == [-1] else f"{stem}{numbers[0]}" + (f"–{numbers[-1]}" if len(numbers) > 1 else "")
        for stem, numbers in runs.items()
    ]
