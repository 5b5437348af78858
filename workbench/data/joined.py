"""Blocks of frames put together, in memory; pictures that are too many for it lie in a file that goes with them."""

import math
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from workbench.data.contract import Frames
from workbench.errors import UserError

IN_MEMORY = 4 * 2**30
"""Bytes of pictures that are held in memory; more than that lie in a file, which the system reads as it is needed."""


def joined(blocks: Iterable[Frames], lengths: Mapping[int, int]) -> Frames:
    """The frames of all episodes of `lengths` (their steps, by index), in that order; a block holds whole episodes.

    Raises UserError where pictures differ in size, or where there is no room for them.
    """
    ends = np.cumsum(list(lengths.values()))
    count, starts = int(ends[-1]), dict(zip(lengths, [0, *ends], strict=False))
    whole: Frames | None = None
    for block in blocks:
        rows_N = np.array([starts[episode] for episode in block.episode.tolist()]) + block.step
        if np.array_equal(rows_N, np.arange(count)):
            return block
        if whole is None:
            whole = _room(block, count)
        if block.image.shape[1:] != whole.image.shape[1:]:
            raise UserError(
                f"The pictures of episode {block.episode[0]} are {_size(block.image)} pixels, others "
                f"{_size(whole.image)}. One dataset has one size."
            )
        for name, values in _arrays(whole).items():
            values[rows_N] = _arrays(block)[name]
    assert whole is not None, "at least one episode is chosen"
    return whole


def pictures(count: int, size: tuple[int, ...]) -> np.ndarray:
    """uint8 [count, *size] to be filled: in memory, or in a file without a name in the folder for temporary files.

    Raises UserError where that folder has no room for it.
    """
    needed = count * math.prod(size)
    if needed <= IN_MEMORY:
        return np.empty((count, *size), np.uint8)
    with tempfile.TemporaryFile() as file:
        try:
            os.posix_fallocate(file.fileno(), 0, needed)
        except OSError as error:
            raise UserError(
                f"The data's pictures take {needed / 2**30:.1f} GiB, for which {tempfile.gettempdir()} has no room "
                f"({error.strerror}): set TMPDIR to a folder with room."
            ) from error
        return np.memmap(file, np.uint8, "r+", shape=(count, *size))


def _room(like: Frames, count: int) -> Frames:
    """As many columns as `like` has, `count` rows of them to be filled."""
    empty = {name: np.empty((count, *values.shape[1:]), values.dtype) for name, values in _numbers(like).items()}
    extra = {name: np.empty((count, *values.shape[1:]), values.dtype) for name, values in like.extra.items()}
    return replace(like, image=pictures(count, like.image.shape[1:]), extra=extra, **empty)


def _numbers(frames: Frames) -> dict[str, np.ndarray]:
    return {name: getattr(frames, name) for name in ("state", "action", "episode", "step", "task_index")}


def _arrays(frames: Frames) -> dict[str, np.ndarray]:
    return {"image": frames.image, **_numbers(frames), **frames.extra}


def _size(image_NHWC: np.ndarray) -> str:
    return f"{image_NHWC.shape[2]} x {image_NHWC.shape[1]}"
