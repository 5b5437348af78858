"""Demonstrations as values: an episode on its way to disk, and the frames of many episodes in memory."""

# T steps of one episode  N frames of all episodes  H, W pixels  S state width  A action width  K actions in a chunk

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True, eq=False)
class Episode:
    """One demonstration of T >= 1 steps; frame t is what was seen before action t."""

    image: np.ndarray
    """uint8 [T, H, W, 3], RGB."""
    state: np.ndarray
    """float32 [T, S]."""
    action: np.ndarray
    """float32 [T, A]."""
    instruction: str
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)
    """float32 [T, D] each, by column: what a simulator knows beside. For objectives and probes, not for a policy."""

    def __post_init__(self) -> None:
        """Raises ValueError where the arrays are not the ones promised above."""
        steps = len(self.image)
        if self.image.dtype != np.uint8 or self.image.ndim != 4 or self.image.shape[3] != 3 or steps == 0:
            raise ValueError(f"An episode's image is uint8 [T, H, W, 3]; got {_shape(self.image)}.")
        for name, values in (("state", self.state), ("action", self.action), *self.extra.items()):
            if values.dtype != np.float32 or values.ndim != 2 or len(values) != steps or values.shape[1] == 0:
                raise ValueError(f"An episode's {name} is float32 [{steps}, D], one row a frame; got {_shape(values)}.")


class Chunks(NamedTuple):
    """The K actions from every frame on."""

    action: np.ndarray
    """float32 [N, K, A]; past the episode's end its last action is repeated."""
    padded: np.ndarray
    """bool [N, K], true past the end (LeRobot's `action_is_pad`)."""


@dataclass(frozen=True, eq=False)
class Frames:
    """Every step of chosen episodes, episode after episode and in order, in memory."""

    image: np.ndarray
    """uint8 [N, H, W, 3], RGB."""
    state: np.ndarray
    """float32 [N, S]."""
    action: np.ndarray
    """float32 [N, A]."""
    episode: np.ndarray
    """int64 [N], the episode's index in its dataset."""
    step: np.ndarray
    """int64 [N], counted from 0 within the episode."""
    task_index: np.ndarray
    """int64 [N], into `tasks`: the instruction of frame i is `tasks[task_index[i]]`."""
    tasks: tuple[str, ...]
    """All instructions of the dataset, each once."""
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)
    """float32 [N, D] each: the dataset's privileged columns, where it has any."""
    extra_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The names of their D values."""

    def __len__(self) -> int:
        return len(self.action)

    @property
    def first_N(self) -> np.ndarray:
        """int64 [N], the row of the first frame of each frame's episode."""
        return np.arange(len(self)) - self.step

    @property
    def last_N(self) -> np.ndarray:
        """int64 [N], the row of the last frame of each frame's episode."""
        ends = np.append(np.flatnonzero(np.diff(self.episode)), len(self) - 1)
        return ends[np.searchsorted(ends, np.arange(len(self)))]

    def chunks(self, size: int) -> Chunks:
        """The next `size` actions of every frame, its own first; chunks never cross into another episode."""
        last_N = self.last_N
        wanted_NK = np.arange(len(self))[:, None] + np.arange(size)
        return Chunks(
            action=self.action[np.minimum(wanted_NK, last_N[:, None])],
            padded=wanted_NK > last_N[:, None],
        )


def _shape(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"
