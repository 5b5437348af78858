"""The registry as a Markdown table: what docs/encoders.md shows, one row an encoder."""

from encoders.contract import Card
from encoders.registry import card
from encoders.rows import ROWS, Row

COLUMNS = ("name", "model", "px", "tokens", "width", "parameters", "readout", "statistics", "licence of the weights")
STATISTICS: dict[tuple[tuple[float, ...], tuple[float, ...]], str] = {
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)): "ImageNet",
    ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)): "CLIP",
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)): "0.5",
}
"""Mean and standard deviation of a picture's three channels → what everybody calls them."""


def markdown_table() -> str:
    """Every row with its card, in the registry's order; imports timm, builds nothing."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(_cells(row, card(row.name)) for row in ROWS)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def statistics(facts: Card) -> str:
    """Of each picture the usual name of its statistics, or the numbers; then the interpolation."""
    pictures = []
    for start in range(0, len(facts.mean), 3):
        mean, std = facts.mean[start : start + 3], facts.std[start : start + 3]
        pictures.append(STATISTICS.get((mean, std), f"{mean} ± {std}"))
    return f"{' and '.join(pictures)}, {facts.interpolation}"


def size(parameters: int) -> str:
    """Three digits at most: 893_824 → "0.9 M", 85_797_120 → "86 M", 6_716_030_976 → "6.7 B"."""
    for scale, unit in ((1e9, " B"), (1e6, " M")):
        if parameters >= 0.5 * scale:
            count = parameters / scale
            return f"{count:.1f}{unit}" if count < 10 else f"{count:.0f}{unit}"
    return str(parameters)


def _cells(row: Row, facts: Card) -> tuple[str, ...]:
    named = f"[{row.name}]({row.paper})"
    shape = (str(row.side), str(row.tokens), str(row.dim), size(row.parameters))
    return (named, f"`{row.source}`", *shape, row.readout, statistics(facts), facts.licence)
