"""A video as one picture: nine of its frames in three rows (an image grid, arXiv:2403.18406, §3).

A backbone here takes one picture. What a question asks of a whole video (how many chairs the room has, what came
first) no single frame can answer; a grid shows some of each part, every frame at a third of the picture's side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image, UnidentifiedImageError

from workbench.errors import UserError

EDGE = 3
"""Frames a row, and rows."""
PICTURES = (".jpg", ".jpeg", ".png")
UNREADABLE = (OSError, FFmpegError, UnidentifiedImageError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Video:
    """An MP4 file, or a folder of its frames as pictures, which are taken by their names' order."""

    path: Path

    def image(self, side: int) -> np.ndarray:
        """uint8 [side, side, 3], RGB: frames from the first to the last at even distances, in the order of reading.

        A short video's frames are shown more than once. Raises UserError where it is missing, damaged or neither.
        """
        try:
            frames = self._folder() if self.path.is_dir() else self._file()
        except UNREADABLE as error:
            raise UserError(f"The video {self.path} cannot be read: {error}") from error
        edges = np.linspace(0, side, EDGE + 1).astype(int)
        sheet = Image.new("RGB", (side, side))
        for place, frame in enumerate(frames):
            y, x = divmod(place, EDGE)
            size = (int(edges[x + 1] - edges[x]), int(edges[y + 1] - edges[y]))
            sheet.paste(frame.resize(size, Image.Resampling.BICUBIC), (int(edges[x]), int(edges[y])))
        return np.asarray(sheet)

    def _folder(self) -> Sequence[Image.Image]:
        files = sorted(file for file in self.path.iterdir() if file.suffix.lower() in PICTURES)
        return [Image.open(files[index]).convert("RGB") for index in self._chosen(len(files))]

    def _file(self) -> Sequence[Image.Image]:
        """Read as MP4, whatever it claims to be: FFmpeg knows formats that name other files."""
        with self.path.open("rb") as content, av.open(content, "r", format="mp4") as container:
            if not container.streams.video:
                raise UserError(f"The video {self.path} has no pictures.")
            stream = container.streams.video[0]
            chosen = self._chosen(sum(packet.size > 0 and not packet.is_discard for packet in container.demux(stream)))
            container.seek(0, stream=stream)
            decoded = enumerate(container.decode(stream))
            found = {index: frame.to_image() for index, frame in decoded if index in chosen}
        if chosen[-1] not in found:
            raise UserError(f"The video {self.path} ends before its last frame: it is damaged.")
        return [found[index] for index in chosen]

    def _chosen(self, count: int) -> list[int]:
        if not count:
            raise UserError(f"The video {self.path} has no pictures: an MP4 file or a folder of {PICTURES} has some.")
        return np.linspace(0, count - 1, EDGE**2).round().astype(int).tolist()
