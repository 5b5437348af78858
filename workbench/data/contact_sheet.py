"""First pictures of episodes side by side, each under its number and instruction, as one PNG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from workbench.errors import UserError

SIDE = 160
"""Pixels of the longer side of each picture on the sheet."""
CAPTION = 30
"""Pixels above each picture, for two lines."""
GAP = 8
COLUMNS = 6
INK, PAPER = (20, 20, 20), (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Seen:
    """The first picture of an episode."""

    episode: int
    instruction: str
    image: np.ndarray
    """uint8 [H, W, 3], RGB."""


def write_sheet(path: Path, pictures: Sequence[Seen]) -> None:
    """Write the sheet, six pictures a row. Raises UserError where there is none, or the file cannot be written."""
    if not pictures:
        raise UserError("A contact sheet needs at least one picture, and none could be read.")
    tiles = [_tile(seen) for seen in pictures]
    width, height = tiles[0].width + GAP, max(tile.height for tile in tiles) + GAP
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (width * min(COLUMNS, len(tiles)) + GAP, height * rows + GAP), PAPER)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, COLUMNS)
        sheet.paste(tile, (GAP + column * width, GAP + row * height))
    try:
        sheet.save(path, format="PNG")
    except OSError as error:
        raise UserError(
            f"The contact sheet {path} cannot be written: {error.strerror}. Choose another file."
        ) from error


def _tile(seen: Seen) -> Image.Image:
    picture = Image.fromarray(seen.image)
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # Small pictures are enlarged without smoothing: what is seen is what is stored.
    picture = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (SIDE, CAPTION + picture.height), PAPER)
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(size=11)
    draw.multiline_text((0, 0), _caption(seen, draw, font), fill=INK, font=font, spacing=2)
    tile.paste(picture, (0, CAPTION))
    return tile


def _caption(seen: Seen, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """Two lines, as many words as they hold."""
    lines = [""]
    for word in f"{seen.episode}: {seen.instruction}".split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font=font) <= SIDE or not lines[-1]:
            lines[-1] = longer
        elif len(lines) == 2:
            lines[-1] += " …"
            break
        else:
            lines.append(word)
    return "\n".join(lines)
