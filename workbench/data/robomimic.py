"""robomimic's demonstrations: one HDF5 file of one task.

Sources in ARISE-Initiative/robomimic: docs/datasets/overview.md (the layout, filter keys under `mask`);
robomimic/config/base_config.py (the low-dimensional observations); robomimic/envs/env_robosuite.py
(`get_observation` stores pictures upright, so nothing is turned here).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench.data.computed import ComputedDataset, Header, Stored, choose_camera
from workbench.data.dataset import EpisodeFacts
from workbench.data.depth import WithDepth
from workbench.data.hdf5 import (
    AGAIN,
    Demonstration,
    attributes,
    control_frequency,
    demonstrations,
    depth_pictures,
    filter_keys,
    json_attribute,
    matrix,
    observed,
    opened,
    pictures,
)
from workbench.errors import UserError

if TYPE_CHECKING:
    import h5py

STATE = ("eef_pos", "eef_quat", "gripper_qpos")
"""Of each robot; the quaternion is x, y, z, w (robosuite)."""
MARK = "env_args"


class RobomimicDataset(ComputedDataset, WithDepth):
    """Episodes by the number of their `demo_N`. Pictures, state and actions are as stored."""

    masks: Mapping[str, tuple[int, ...]]
    """Episodes by filter key: `train` and `valid`, and whatever else the file has. Nothing is left out by itself."""

    def __init__(
        self,
        header: Header,
        demonstrations: Sequence[Demonstration],
        state: Sequence[str],
        masks: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._demonstrations = demonstrations
        self._state = state
        self.masks = masks
        super().__init__(header)

    def key(self, index: int) -> str:
        return self._demonstrations[index].name

    def stored(self, index: int) -> Stored:
        demonstration = self._demonstrations[index]
        with opened(demonstration.path) as file:
            return Stored(
                state=matrix(file, demonstration, [f"obs/{name}" for name in self._state]),
                action=matrix(file, demonstration, ["actions"]),
            )

    def pictures(self, index: int, frames: Sequence[int]) -> list[np.ndarray]:
        demonstration = self._demonstrations[index]
        with opened(demonstration.path) as file:
            return pictures(file, demonstration, self.camera, frames)

    def depth(self, index: int, column: str) -> np.ndarray | None:
        demonstration = self._demonstrations[index]
        with opened(demonstration.path) as file:
            return depth_pictures(file, demonstration, column)


def open_robomimic(path: Path, camera: str | None = None) -> RobomimicDataset:
    """Open one file; `camera` is a name such as agentview_image, the first in the alphabet if nothing is said.

    The format has no instructions: every episode's is the environment's name, `env_name`. Raises UserError, which names
    file and episode, where something is missing or damaged, and for a file without pictures.
    """
    with opened(path) as file:
        environment = json_attribute(attributes(file, path), MARK, path)
        found = demonstrations(file, path)
        names = observed(file, found[0])
        state = _state_keys(names, path)
        widths = {name: matrix(file, found[0], [f"obs/{name}"]).shape[1] for name in state}
        width = matrix(file, found[0], ["actions"]).shape[1]
        masks = _masks(file, found)
    instruction = environment.get("env_name")
    if not isinstance(instruction, str) or not instruction:
        raise UserError(f"The attribute {MARK} of {path} has no env_name, which is the instruction here. {AGAIN}")
    cameras = tuple(name for name in names if name.endswith("_image"))
    if not cameras:
        raise UserError(
            f"{path} has no pictures; observed are {', '.join(names)}. robomimic's dataset_states_to_obs.py adds them."
        )
    header = Header(
        root=path,
        format="robomimic HDF5",
        cameras=cameras,
        camera=choose_camera(camera, cameras, path),
        fps=control_frequency(environment),
        state_names=tuple(f"{name}.{place}" for name in state for place in range(widths[name])),
        action_names=tuple(f"action.{place}" for place in range(width)),
        episodes=tuple(EpisodeFacts(index, one.length, instruction) for index, one in enumerate(found)),
    )
    return RobomimicDataset(header, found, state, masks)


def _state_keys(names: Sequence[str], path: Path) -> tuple[str, ...]:
    """Position, quaternion and fingers of one robot after the other."""
    robots = sorted({name.split("_")[0] for name in names if re.match(r"robot\d+_", name)})
    wanted = tuple(f"{robot}_{part}" for robot in robots for part in STATE)
    missing = [name for name in wanted if name not in names]
    if missing or not wanted:
        raise UserError(
            f"{path} lacks the observation {missing[0] if missing else f'robot0_{STATE[0]}'}, which the state is made "
            f"of. It has: {', '.join(names)}."
        )
    return wanted


def _masks(file: "h5py.File", found: Sequence[Demonstration]) -> dict[str, tuple[int, ...]]:
    place = {demonstration.name: index for index, demonstration in enumerate(found)}
    masks = {}
    for name, chosen in filter_keys(file, found[0].path).items():
        strangers = [entry for entry in chosen if entry not in place]
        if strangers:
            raise UserError(
                f"mask/{name} of {found[0].path} lists {strangers[0]}, which the file does not have. {AGAIN}"
            )
        masks[name] = tuple(sorted(place[entry] for entry in chosen))
    return masks
