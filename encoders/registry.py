"""From a name to an encoder. A name is a row (rows.py), or one of these around any other:

`timm:ARCHITECTURE.TAG`  `open_clip:ARCHITECTURE/TAG`  `hf:ID` (hub id or local folder)  `fused:A+B`  `random:A`
`shuffled:A`  `A@FILE` (the architecture and readout of A, with the weights of a local file)  `A#READOUT` (readout.py)
"""

import difflib
from pathlib import Path

import torch

from encoders.checkpoint import load_strictly, read_checkpoint
from encoders.contract import Card, Encoder
from encoders.errors import UnknownEncoder, UnsupportedEncoder, WeightsMissing
from encoders.fused import Fused, fused_card
from encoders.libraries import LIBRARIES, Weights, library
from encoders.patches import RawPatches
from encoders.readout import read_as, read_at
from encoders.rows import ROWS, Row
from encoders.shuffled import shuffle_weights

CONTROLS = ("random", "shuffled")

ENCODERS: dict[str, Row] = {row.name: row for row in ROWS}
FORMS = ("timm:NAME", "open_clip:NAME/TAG", "hf:ID", "fused:A+B", "random:A", "shuffled:A", "A@FILE", "A#READOUT")


def card(name: str) -> Card:
    """The card of an encoder; no weights are read and nothing is built that takes memory.

    Raises an `EncoderError`: `UnknownEncoder`, `UnsupportedEncoder`, or `WeightsMissing` for an `hf:` configuration.
    """
    if name in ENCODERS:
        return _row_card(ENCODERS[name])
    door, _, rest = name.partition(":")
    if door == "fused":
        return fused_card(*(card(member) for member in _members(name)))
    if door in CONTROLS:
        return _renamed(card(rest), name)
    architecture, at, _ = name.partition("@")
    if at:
        return _renamed(card(architecture), name)
    base, read, words = name.partition("#")
    if read:
        return read_at(card(base), words)
    if door in LIBRARIES:
        return library(door).card(rest)
    raise _unknown(name)


def build_encoder(name: str, *, weights: Weights, seed: int) -> Encoder:
    """An encoder on the CPU, or under `torch.device("meta")` its outline; random weights are a function of `seed`.

    The global generator is as it was afterwards. Raises what `card` raises, `WeightsMissing` where pretrained weights
    are neither in the cache nor to be had, and `WeightsMismatch` where a file does not fit.
    """
    # the libraries initialise from the global generator; only the CPU's is touched, and put back
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _build(name, card(name), weights, seed)


def parameters(name: str) -> int:
    """How many numbers of the encoder are read; a row states it, of others the outline is counted."""
    if name in ENCODERS:
        return ENCODERS[name].parameters
    with torch.device("meta"):
        return sum(p.numel() for p in build_encoder(name, weights="random", seed=0).parameters())


def _build(name: str, facts: Card, weights: Weights | Path, seed: int) -> Encoder:
    source = ENCODERS[name].source if name in ENCODERS else name
    door, _, rest = source.partition(":")
    if door == "fused":
        return _build_fused(source, facts, weights, seed)
    if door in CONTROLS:
        return _build_control(door, rest, facts, weights=weights, seed=seed)
    architecture, at, file = source.partition("@")
    if at:
        return _build(architecture, facts, Path(file) if weights == "pretrained" else weights, seed)
    base, read, _ = source.partition("#")
    if read:
        return _build(base, facts, weights, seed)
    if door in LIBRARIES:
        return library(door).build(facts, weights)
    return _build_own(name, facts, weights)


def _build_control(door: str, inner: str, facts: Card, *, weights: Weights | Path, seed: int) -> Encoder:
    encoder = _build(inner, read_as(card(inner), facts), "random" if door == "random" else weights, seed)
    if door == "shuffled":
        shuffle_weights(encoder, torch.Generator().manual_seed(seed))
    encoder.card = facts
    return encoder


def _build_fused(source: str, facts: Card, weights: Weights | Path, seed: int) -> Encoder:
    if isinstance(weights, Path):
        raise UnsupportedEncoder(f"'{source}' has two encoders: name a file for each, as in 'fused:A@FILE+B@FILE'.")
    first, second = (
        _build(member, read_as(card(member), facts), weights, seed + i) for i, member in enumerate(_members(source))
    )
    return Fused(facts, first, second)


def _build_own(name: str, facts: Card, weights: Weights | Path) -> Encoder:
    if name == "tiny":
        from encoders.tiny import tiny_vit

        if weights == "pretrained":
            raise WeightsMissing(f'No weights of "{name}" were published. Use weights = "random".')
        encoder = tiny_vit(facts)
        if isinstance(weights, Path):
            load_strictly(encoder.tower, read_checkpoint(weights), f"The file {weights} for '{name}'")
        return encoder
    if (facts.layer, facts.final_norm) != ("last", False):
        raise UnsupportedEncoder(f"'{facts.name}' cannot be read so: it has no layers.")
    if isinstance(weights, Path):
        raise UnsupportedEncoder(f"'{name}' has no weights, so none can be read from {weights}.")
    return RawPatches(facts)


def _row_card(row: Row) -> Card:
    door, _, rest = row.source.partition(":")
    if door == "fused":
        readout = {"layer": row.layer, "final_norm": row.final_norm}
        members = (card(member).model_copy(update=readout) for member in _members(row.source))
        return fused_card(*members).model_copy(update={"name": row.name})
    if door in CONTROLS:
        return _renamed(card(rest), row.name).model_copy(update={"source": row.source})
    facts = row.facts.copy() if row.facts else None
    if facts is None:
        from encoders.timm_source import timm_facts

        facts = timm_facts(rest)
    facts["source"] = row.source
    return Card(
        name=row.name,
        side=row.side,
        tokens=row.tokens,
        dim=row.dim,
        resize="squash",
        layer=row.layer,
        prefix=row.prefix,
        final_norm=row.final_norm,
        paper=row.paper,
        **facts,
    )


def _renamed(facts: Card, name: str) -> Card:
    return facts.model_copy(update={"name": name})


def _members(source: str) -> tuple[str, str]:
    first, plus, second = source.removeprefix("fused:").partition("+")
    if not (first and plus and second):
        raise UnknownEncoder(f"'{source}' names no two encoders; write 'fused:A+B'.")
    return first, second


def _unknown(name: str) -> UnknownEncoder:
    near = difflib.get_close_matches(name, ENCODERS, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    known = f"{', '.join(sorted(ENCODERS))}; or {', '.join(FORMS)}"
    return UnknownEncoder(f"No encoder named '{name}'.{hint} Known: {known}.")
