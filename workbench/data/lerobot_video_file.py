"""The video files of a LeRobot dataset: several episodes one after the other in each, made in memory."""

import io
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from av.video.frame import PictureType
from av.video.stream import VideoStream

from workbench.data.lerobot_layout import FILES_IN_A_FOLDER, VIDEOS
from workbench.errors import UserError

VIDEO_FILE_MEGABYTES = 200
"""A video that has reached this size (2²⁰ bytes each) is followed by another; LeRobot's default."""
ENCODERS = {"libx264": "h264", "mpeg4": "mpeg4"}
"""Encoders by preference, and what LeRobot calls what they write. PyAV may be built without the first."""
QUALITY = {"g": "2", "crf": "30"}
"""LeRobot's: a keyframe every second picture, so that any is found quickly, and its constant rate factor.

Nothing more, such as `bf`: LeRobot joins videos packet by packet, which needs the same lead of decoding times in all.
"""
ALONE = {"threads": "1"}
"""The number of threads may change the bytes."""


def encoder() -> str:
    """The first of `ENCODERS` that PyAV has."""
    return next(name for name in ENCODERS if name in av.codecs_available)


class VideoFile:
    """An MP4 file (yuv420p). In memory, so that a full disk or Ctrl-C meets no open file."""

    def __init__(self, size: tuple[int, int], fps: int) -> None:
        """`size` is (height, width); raises UserError where one is odd."""
        if size[0] % 2 or size[1] % 2:
            raise UserError(
                f"Pictures of {size[1]} x {size[0]} pixels cannot be encoded as yuv420p, which needs an even width and "
                "height. Write images instead of videos, or render another size."
            )
        self.fps = fps
        self.pictures = 0
        self.size = 0
        """Bytes that have left the encoder, which holds back some pictures."""
        self.sink = io.BytesIO()
        self.container = av.open(self.sink, "w", format="mp4")
        stream = self.container.add_stream(encoder(), fps, options=QUALITY | ALONE)
        assert isinstance(stream, VideoStream), "both encoders are of video"
        self.stream = stream
        self.stream.height, self.stream.width = size
        self.stream.pix_fmt = "yuv420p"
        self.stream.time_base = Fraction(1, fps)

    @property
    def seconds(self) -> float:
        """How long it is so far: where the next episode begins."""
        return self.pictures / self.fps

    def append(self, image: np.ndarray) -> None:
        """Add an episode of pictures uint8 [T, H, W, 3]; it begins with a keyframe."""
        for step, picture in enumerate(image):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = self.pictures, Fraction(1, self.fps)
            if step == 0:
                frame.pict_type = PictureType.I
            self._mux(frame)
            self.pictures += 1

    def close(self) -> bytes:
        """The whole file's bytes; nothing can be added afterwards."""
        self._mux(None)
        self.container.close()
        return self.sink.getvalue()

    def _mux(self, frame: av.VideoFrame | None) -> None:
        packets = self.stream.encode(frame)
        self.size += sum(packet.size for packet in packets)
        self.container.mux(packets)


class VideoFiles:
    """All videos of one camera, given to `write` (path within the dataset, content) as each is complete."""

    def __init__(self, camera: str, fps: int, write: Callable[[str, bytes], None]) -> None:
        self.camera, self.fps, self.write = camera, fps, write
        self.file: VideoFile | None = None
        self.files = 0

    def append(self, image: np.ndarray) -> dict[str, int | float]:
        """Add an episode uint8 [T, H, W, 3] and return where it lies, as its row of metadata says it."""
        file = self.file = self.file or VideoFile((image.shape[1], image.shape[2]), self.fps)
        start = file.seconds
        file.append(image)
        chunk, index = divmod(self.files, FILES_IN_A_FOLDER)
        place = {"chunk_index": chunk, "file_index": index, "from_timestamp": start, "to_timestamp": file.seconds}
        if file.size >= VIDEO_FILE_MEGABYTES * 2**20:
            self.flush()
        return {f"videos/{self.camera}/{name}": value for name, value in place.items()}

    def flush(self) -> None:
        """Hand over the video in memory, if there is one."""
        if self.file is None:
            return
        chunk, index = divmod(self.files, FILES_IN_A_FOLDER)
        content = self.file.close()
        self.write(VIDEOS.format(video_key=self.camera, chunk_index=chunk, file_index=index), content)
        self.files += 1
        self.file = None
