"""What is where in the frames of a dataset, as its privileged columns say: for objectives, questions and probes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import isqrt

import numpy as np

from workbench.data.contract import Frames
from workbench.errors import UserError

# N frames  M things  S values a side of a depth map

THINGS, DEPTH = "privileged.things", "privileged.depth"
DEPTH_SIDE = 16
"""Values a side of a depth map: each is the mean over its part of the picture."""
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
"""By the number that is stored."""
_OF_A_THING = ("u", "v", "x", "y", "z", "colour")


def thing_names(kinds: Sequence[str]) -> tuple[str, ...]:
    """The names of the values of `privileged.things`, for things of these kinds."""
    own = [f"{kind}{index}.{value}" for index, kind in enumerate(kinds) for value in _OF_A_THING]
    return ("target", "tip.u", "tip.v", *own)


def depth_names() -> tuple[str, ...]:
    return tuple(f"row{row}.column{column}" for row in range(DEPTH_SIDE) for column in range(DEPTH_SIDE))


@dataclass(frozen=True, eq=False)
class Scenes:
    """N frames, in each the same M things. Image coordinates are 0 … 1, x to the right and y down.

    `at_NM2` and `tip_N2` are image coordinates of the things and of the gripper's tip, `place_NM3` metres in the
    world; `colour_NM` are indices into COLOURS; `kinds` names each thing's kind; `target_N` is the thing that the
    instruction asks for; `depth_NSS` metres along the view.
    """

    kinds: tuple[str, ...]
    at_NM2: np.ndarray
    place_NM3: np.ndarray
    colour_NM: np.ndarray
    target_N: np.ndarray
    tip_N2: np.ndarray
    depth_NSS: np.ndarray

    def __len__(self) -> int:
        return len(self.target_N)

    def pick(self, rows: np.ndarray) -> "Scenes":
        """Only these frames, in this order."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "kinds"}
        return Scenes(self.kinds, **{name: values[rows] for name, values in own.items()})

    def name(self, frame: int, thing: int) -> str:
        """As instructions call it: "red block"."""
        return f"{COLOURS[self.colour_NM[frame, thing]]} {self.kinds[thing]}"


def read_depth(frames: Frames) -> np.ndarray:
    """`[N, S, S]` metres along the view, the top row first: a simulator's, or a data set's own.

    Raises UserError, saying how to get it, where the data have none, and where it is no square map.
    """
    if DEPTH not in frames.extra:
        raise UserError(
            f"These demonstrations have no column {DEPTH}: collect them with privileged = true, or give a LeRobot data "
            "set with such a column, S × S metres a frame: workbench data convert makes one of depth pictures."
        )
    depth_ND = frames.extra[DEPTH]
    side = isqrt(depth_ND.shape[1])
    if side**2 != depth_ND.shape[1]:
        raise UserError(f"The column {DEPTH} has {depth_ND.shape[1]} values a frame, and a map has S × S of them.")
    return depth_ND.reshape(len(depth_ND), side, side)


def read_scenes(frames: Frames) -> Scenes:
    """From the privileged columns of some frames.

    Raises UserError, saying how to get them, where the data have none.
    """
    if THINGS not in frames.extra or DEPTH not in frames.extra:
        raise UserError(
            f"These demonstrations have no columns {THINGS} and {DEPTH}, which only a simulator knows: collect them "
            "with privileged = true."
        )
    names = frames.extra_names[THINGS]
    kinds = tuple(dict.fromkeys(match[0] for name in names if (match := re.match(r"[a-z]+\d+(?=\.)", name))))
    values_ND, rest = frames.extra[THINGS], len(names) - len(_OF_A_THING) * len(kinds)
    things_NMV = values_ND[:, rest:].reshape(len(values_ND), len(kinds), len(_OF_A_THING))
    return Scenes(
        kinds=tuple(kind.rstrip("0123456789") for kind in kinds),
        at_NM2=things_NMV[..., :2],
        place_NM3=things_NMV[..., 2:5],
        colour_NM=things_NMV[..., 5].round().astype(np.int64),
        target_N=values_ND[:, 0].round().astype(np.int64),
        tip_N2=values_ND[:, 1:3],
        depth_NSS=frames.extra[DEPTH].reshape(len(values_ND), DEPTH_SIDE, DEPTH_SIDE),
    )
