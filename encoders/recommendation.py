"""Where an encoder should be read, and who says so: in words, for any name that the registry knows."""

from encoders.registry import CONTROLS, ENCODERS

LIBRARY = {
    "timm": "the last layer's patches, after the final norm where there is one: timm's `forward_features`",
    "open_clip": "transformers at the penultimate layer, no norm, as LLaVA-1.5 (arXiv:2310.03744); others at the last",
    "hf": "`last_hidden_state` without what stands before the grid of patches: transformers' own output",
}
"""What is read of a model that has no row."""


def recommendation(name: str) -> str:
    """The row's, or that of the encoder which the name is made of. For names that have a card."""
    if name in ENCODERS:
        source = ENCODERS[name].source
        return recommendation(source) if source.partition(":")[0] in CONTROLS else ENCODERS[name].readout
    door, _, rest = name.partition(":")
    if door == "fused":
        first, _, second = rest.partition("+")
        return f"{first}: {recommendation(first)}; {second}: {recommendation(second)}"
    if door in CONTROLS:
        return f"as {rest}: {recommendation(rest)}"
    architecture, at, _ = name.partition("@")
    if at:
        return f"as {architecture}: {recommendation(architecture)}"
    base, read, words = name.partition("#")
    if read:
        return f"{words}, by its name, instead of: {recommendation(base)}"
    return LIBRARY[door]
