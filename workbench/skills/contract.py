"""What a skill is: from a frame and what is known of it to a question and its answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.data.contract import Frames
from workbench.scene import Scenes

# N frames  H, W pixels  M things


@dataclass(frozen=True)
class Turn:
    """A question about a picture, and the answer. `rows` are the frames that the picture shows, left to right."""

    question: str
    answer: str
    rows: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Known:
    """The frames of many episodes, what is where in each, and how places and levels are written.

    `place` writes image coordinates, `levels` whole numbers from 0 one after the other.

    Frames are the tabletop's, by its one camera: the state is the tip in metres (x right, y away, z up) and the
    gripper, +1 closed; the action's first three values are its move along these axes, the last its gripper.
    """

    frames: Frames
    scenes: Scenes
    place: Callable[[np.ndarray], str]
    levels: Callable[[Sequence[int]], str]

    def picture(self, turn: Turn) -> np.ndarray:
        """uint8 [H, W, 3], what the turn is about: several frames stand side by side, made narrower to fit."""
        side_by_side = np.concatenate([self.frames.image[row] for row in turn.rows], axis=1)
        height, width = side_by_side.shape[:2]
        narrow = side_by_side.reshape(height, width // len(turn.rows), len(turn.rows), 3).mean(axis=2)
        return narrow.round().astype(np.uint8)

    def instruction(self, row: int) -> str:
        return self.frames.tasks[self.frames.task_index[row]]

    def tip(self, row: int) -> np.ndarray:
        """`[3]` metres."""
        return self.frames.state[row, :3]


Skill = Callable[[Known, int, np.random.Generator], Turn]
"""One turn about the frame of this row; the same generator, the same turn."""


def two(random: np.random.Generator, count: int) -> tuple[int, int]:
    """Two different numbers below `count`."""
    a, b = random.choice(count, 2, replace=False)
    return int(a), int(b)


def one_of(random: np.random.Generator, found: np.ndarray) -> tuple[int, ...]:
    """One row of `found [C, …]`, as whole numbers."""
    return tuple(int(value) for value in found[random.integers(len(found))])
