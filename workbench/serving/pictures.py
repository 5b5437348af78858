"""Pictures from the wire: whatever is sent, uint8 `[H, W, 3]` or a refusal that names its key."""

import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from workbench.serving.refusal import Refused, shown

SIDE = 4096
"""Pixels of a picture's longer side."""
WANTED = f"uint8 [height, width, 3], RGB, with sides of 1 to {SIDE} pixels"
BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for damaged files."""


@dataclass(frozen=True)
class Encoded:
    """A picture as a PNG or JPEG file, as its sender claims; nothing of it is looked at before `pixels`."""

    format: Any
    data: Any = field(repr=False)
    shape: Any


def pixels(value: object, key: str) -> np.ndarray:
    """uint8 `[H, W, 3]` of what stands at `key`. Raises Refused for what is no picture, or too large."""
    array = _decoded(value, key) if isinstance(value, Encoded) else value
    if not isinstance(array, np.ndarray):
        raise Refused(f"{shown(key)} is of type {type(value).__name__}; expected a picture: {WANTED}.")
    sides = array.shape[:2]
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or min(sides) < 1 or max(sides) > SIDE:
        found = f"{array.dtype} {list(array.shape)}"
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            found += " with values that are not finite"
        raise Refused(f"{shown(key)} is {found}; expected {WANTED}.")
    return array


def _decoded(encoded: Encoded, key: str) -> np.ndarray:
    """The size is compared with what was claimed before anything is decompressed."""
    if encoded.format not in ("png", "jpeg") or not isinstance(encoded.data, bytes):
        found = f"format {shown(encoded.format)} with data of type {type(encoded.data).__name__}"
        raise Refused(f"{shown(key)} is a picture of {found}; expected raw, png or jpeg, and bytes.")
    try:
        with Image.open(io.BytesIO(encoded.data), formats=[encoded.format]) as image:
            width, height = image.size
            if max(width, height) > SIDE or encoded.shape != [height, width, 3] or image.mode != "RGB":
                raise Refused(
                    f"{shown(key)} is a {image.mode} {encoded.format} of {height} × {width}, said to have the shape "
                    f"{shown(encoded.shape)}; expected {WANTED}."
                )
            return np.asarray(image)
    except (UnidentifiedImageError, *BROKEN) as error:
        raise Refused(f"{shown(key)} is no {encoded.format} that can be read; expected {WANTED}.") from error
