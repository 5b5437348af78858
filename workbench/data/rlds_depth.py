"""Depth pictures as TensorFlow Datasets writes them: numbers of fixed shape, or encoded pictures with one channel.

Source: tensorflow_datasets/core/features/image_feature.py: uint8 and uint16 are grey; a float32 is written as the four
channels of a PNG, a byte each.
"""

# T steps of one episode  H, W pixels

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from workbench.data.example import Malformed
from workbench.data.tfrecord import AGAIN
from workbench.errors import UserError

MODES = {"uint8": ("L",), "uint16": ("I;16", "I"), "float32": ("RGBA",)}
"""Pillow's, by the kind of the numbers."""


def in_pictures(values_TD: np.ndarray, shape: Sequence[int], column: str) -> np.ndarray:
    """[T, H, W]. Raises UserError where a step's shape is no picture of one channel."""
    if len(shape) not in (2, 3) or tuple(shape[2:]) not in ((), (1,)):
        raise UserError(f"'{column}' is {list(shape)} at each step; a depth picture is [H, W] or [H, W, 1].")
    return values_TD.reshape(len(values_TD), *shape[:2])


def decode_depth(encoded: Sequence[bytes], dtype: str, place: str) -> np.ndarray:
    """[T, H, W] of T >= 1 encoded pictures. Raises UserError that names the step that is damaged or of another kind."""
    if dtype not in MODES:
        raise UserError(f"The depth pictures of {place} are {dtype}; {', '.join(MODES)} are read.")
    if not encoded:
        raise Malformed("it has no depth pictures")
    pictures = [_decode(one, dtype, f"step {step} of {place}") for step, one in enumerate(encoded)]
    if len({picture.shape for picture in pictures}) > 1:
        raise UserError(f"The depth pictures of {place} differ in size. {AGAIN}")
    return np.stack(pictures)


def _decode(encoded: bytes, dtype: str, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            mode, values = picture.mode, np.asarray(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"The depth of {name} is damaged: {error}. {AGAIN}") from error
    if mode not in MODES[dtype]:
        raise UserError(f"The depth of {name} is a picture of Pillow's mode {mode}, which is no {dtype}. {AGAIN}")
    return np.ascontiguousarray(values).view("<f4")[..., 0] if dtype == "float32" else values
