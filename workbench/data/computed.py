"""Formats that store neither statistics nor a digest: both are made in one pass when a data set is opened."""

# T steps of one episode  F frames asked for  H, W pixels  S state width  A action width

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.data.contract import Episode
from workbench.data.dataset import Dataset, EpisodeFacts, Vectors, check_chosen
from workbench.data.lerobot_layout import ACTION, STATE
from workbench.data.statistics import Statistics
from workbench.errors import UserError, unknown


@dataclass(frozen=True)
class Header:
    """What a format's own files say of a data set before any episode is read. The names are those of `Dataset`."""

    root: Path
    format: str
    cameras: tuple[str, ...]
    camera: str
    fps: float | None
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    episodes: tuple[EpisodeFacts, ...]


@dataclass(frozen=True, eq=False)
class Stored:
    """An episode's numbers as they lie in the file, not yet checked."""

    state: np.ndarray
    action: np.ndarray


class ComputedDataset(Dataset):
    """A data set whose every vector, and every episode's first and last picture, was read and checked when opened.

    `statistics` are exact, over the vectors of all episodes. `digest` covers the format, the camera, the names of the
    dimensions, and of every episode its name in the data set, its instruction, its vectors, and the first and the last
    of the camera's pictures. A change of a picture between these two, or of another camera's, is not seen by it.
    """

    def __init__(self, header: Header) -> None:
        """To be called by a format last: it reads. Raises UserError that names what is damaged, and where."""
        self.root, self.format = header.root, header.format
        self.cameras, self.camera, self.fps = header.cameras, header.camera, header.fps
        self.state_names, self.action_names = header.state_names, header.action_names
        self.episodes = header.episodes
        self.statistics, self.digest = self._survey()

    @abstractmethod
    def key(self, index: int) -> str:
        """What the episode is called within the data set, wherever that lies."""

    @abstractmethod
    def stored(self, index: int) -> Stored:
        """The episode's numbers. Raises UserError where the file is damaged."""

    @abstractmethod
    def pictures(self, index: int, frames: Sequence[int]) -> list[np.ndarray]:
        """These frames, uint8 [H, W, 3] RGB each. Raises UserError that names the frame that is damaged."""

    def vectors(self, index: int) -> Vectors:
        check_chosen(self, [index])
        stored, place, length = self.stored(index), self._place(index), self.episodes[index].length
        return Vectors(
            state=checked_numbers(stored.state, self.state_names, f"The state of {place}", length=length),
            action=checked_numbers(stored.action, self.action_names, f"The action of {place}", length=length),
        )

    def episode(self, index: int) -> Episode:
        vectors = self.vectors(index)
        return Episode(
            image=self._images(index, range(len(vectors.action))),
            state=vectors.state,
            action=vectors.action,
            instruction=self.episodes[index].instruction,
        )

    def _place(self, index: int) -> str:
        return f"episode {index} ({self.key(index)}) of {self.root}"

    def _images(self, index: int, frames: Sequence[int]) -> np.ndarray:
        """uint8 [F, H, W, 3], each of the size of the first."""
        pictures = self.pictures(index, frames)
        for frame, picture in zip(frames, pictures, strict=True):
            if picture.shape != pictures[0].shape:
                raise self._other_size(index, frame, picture.shape, pictures[0].shape)
        return np.stack(pictures)

    def _survey(self) -> tuple[dict[str, Statistics], str]:
        total = hashlib.sha256()
        _add(total.update, [self.format, self.camera, *self.state_names, *self.action_names])
        parts: list[Vectors] = []
        size: tuple[int, ...] | None = None
        for facts in self.episodes:
            vectors = self.vectors(facts.index)
            ends = self._images(facts.index, _ends(facts.length))
            size = size or ends.shape[1:]
            if ends.shape[1:] != size:
                raise self._other_size(facts.index, 0, ends.shape[1:], size)
            _add(total.update, [self.key(facts.index), facts.instruction, str(ends.shape), str(facts.length)])
            for values in (vectors.state, vectors.action, ends):
                total.update(np.ascontiguousarray(values).data)
            parts.append(vectors)
        statistics = {
            STATE: Statistics.from_values(np.concatenate([part.state for part in parts])),
            ACTION: Statistics.from_values(np.concatenate([part.action for part in parts])),
        }
        return statistics, total.hexdigest()

    def _other_size(self, index: int, frame: int, shape: tuple[int, ...], usual: tuple[int, ...]) -> UserError:
        return UserError(
            f"Frame {frame} of {self._place(index)} is {shape[1]} x {shape[0]} pixels; those before it are "
            f"{usual[1]} x {usual[0]}. One data set has one size: scale its pictures, or open the others by themselves."
        )


def checked_numbers(values: np.ndarray, names: Sequence[str], what: str, *, length: int) -> np.ndarray:
    """float32 [T, D] of numbers of any kind; raises UserError that begins with `what` where they are not finite."""
    if values.dtype.kind not in "fiu" or values.shape != (length, len(names)):
        raise UserError(
            f"{what} is {values.dtype} {list(values.shape)}; numbers [{length}, {len(names)}] are needed: a row for "
            f"each frame, and {', '.join(names)}."
        )
    with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite, and is told below.
        numbers = values.astype(np.float32)
    broken = np.argwhere(~np.isfinite(numbers))
    if len(broken):
        frame, dimension = broken[0]
        raise UserError(
            f"{what} is {values[frame, dimension]} at frame {frame}, dimension {dimension} ({names[dimension]}), which "
            "is no finite float32. Repair or leave out that episode."
        )
    return numbers


def checked_picture(picture: np.ndarray, name: str) -> np.ndarray:
    """The picture as it is; raises UserError that begins with `name` where it is not uint8 [H, W, 3]."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise UserError(f"{name} is {picture.dtype} {list(picture.shape)}; a picture is uint8 [H, W, 3], RGB.")
    return picture


def choose_camera(camera: str | None, cameras: Sequence[str], root: Path) -> str:
    """The camera asked for, or the first; raises UserError where there is none, or no such one."""
    if not cameras:
        raise UserError(f"{root} has no camera pictures. The workbench reads data sets with pictures only.")
    if camera is None:
        return cameras[0]
    if camera not in cameras:
        raise unknown("camera", camera, cameras)
    return camera


def _ends(length: int) -> tuple[int, ...]:
    return (0, length - 1) if length > 1 else (0,)


def _add(update: Callable[[bytes], None], words: Sequence[str]) -> None:
    """Every word with its length, so that no two lists of words look alike."""
    for word in words:
        encoded = word.encode()
        update(f"{len(encoded)}:".encode() + encoded)
