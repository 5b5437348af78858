"""The pictures of one episode out of a video that may hold several."""

# T steps of one episode  H, W pixels

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from workbench.data.lerobot_read import AGAIN
from workbench.errors import UserError


@dataclass(frozen=True)
class Span:
    """Where an episode's pictures lie."""

    path: Path
    start: float
    """Seconds from the beginning of the video to the episode's."""


def decode_span(span: Span, second_T: np.ndarray, fps: float, episode: str) -> np.ndarray:
    """uint8 [T, H, W, 3] RGB: the picture at each of the episode's ascending times (seconds from its beginning).

    Decoded in order from the last keyframe before the episode. Picture t must lie within half a frame of time t, and
    no other between them. Raises UserError that names the file where it is missing or damaged, and `episode` and the
    frame where a picture is missing or at another time.
    """
    wanted_T = span.start + second_T
    half = 0.5 / fps
    found: list[np.ndarray] = []
    for second, picture in _pictures(span.path, wanted_T[0] - half):
        if second <= wanted_T[0] - half:
            continue
        wanted = wanted_T[len(found)]
        if abs(second - wanted) >= half:
            raise UserError(
                f"Frame {len(found)} of {episode} should be at {wanted:.3f} s of {span.path}, and the next picture is "
                f"at {second:.3f} s: pictures are missing, or the video has not {fps:g} a second. {AGAIN}"
            )
        found.append(picture)
        if len(found) == len(wanted_T):
            return np.stack(found)
    raise UserError(
        f"{span.path} ends before frame {len(found)} of {episode}, which should be at {wanted_T[len(found)]:.3f} s. "
        f"{AGAIN}"
    )


def _pictures(path: Path, start: float) -> Iterator[tuple[float, np.ndarray]]:
    """Seconds and uint8 [H, W, 3] of every picture from the last keyframe before `start` on."""
    if not path.is_file():
        raise UserError(f"{path} is missing, though the dataset's metadata name it. {AGAIN}")
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise UserError(f"{path} holds no video. {AGAIN}")
            stream = container.streams.video[0]
            base = stream.time_base
            assert base is not None, "demuxed streams have one"
            container.seek(max(0, int(start / base)), stream=stream)
            yield from _decoded(container, stream)
    except FFmpegError as error:
        raise UserError(f"{path} is not a whole video ({error.strerror}). {AGAIN}") from error


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[tuple[float, np.ndarray]]:
    for packet in container.demux(stream):
        for frame in packet.decode():
            if packet.is_corrupt or frame.is_corrupt or frame.time is None:
                raise UserError(f"{container.name} is damaged near {frame.time} s. {AGAIN}")
            yield frame.time, frame.to_ndarray(format="rgb24")
