"""LIBERO's demonstrations: HDF5 files of one task each, by themselves or as the folder of a suite.

Sources in Lifelong-Robot-Learning/LIBERO: scripts/create_dataset.py writes `data/demo_N/{actions, obs/agentview_rgb,
obs/eye_in_hand_rgb, obs/ee_pos, obs/ee_ori, obs/gripper_states, …}` and the attributes `problem_info`, `env_args` and
`macros_image_convention`; libero/libero/benchmark/__init__.py names the files and makes instructions of the names.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench.data.computed import ComputedDataset, Header, Stored, choose_camera
from workbench.data.dataset import EpisodeFacts
from workbench.data.depth import WithDepth
from workbench.data.hdf5 import (
    SUFFIXES,
    Demonstration,
    attributes,
    control_frequency,
    demonstrations,
    depth_pictures,
    json_attribute,
    matrix,
    observed,
    opened,
    pictures,
)
from workbench.errors import UserError

STATE = ("obs/ee_pos", "obs/ee_ori", "obs/gripper_states")
STATE_NAMES = (
    *(f"ee_pos.{axis}" for axis in "xyz"),
    *(f"ee_ori.{axis}" for axis in "xyz"),
    *(f"gripper_states.{finger}" for finger in range(2)),
)
"""Position in metres; axis-angle vector in radians (create_dataset.py: quat2axisangle); both fingers in metres."""
ACTION_NAMES = ("x", "y", "z", "axis_angle.x", "axis_angle.y", "axis_angle.z", "gripper")
"""robosuite's OSC_POSE, relative, in [−1, 1]; gripper +1 closes."""
MARK = "problem_info"
"""The attribute that LIBERO's files have, and robomimic's have not."""
UPSIDE_DOWN = "opengl"
"""robosuite's `IMAGE_CONVENTION` with which LIBERO's files were rendered."""


class LiberoDataset(ComputedDataset, WithDepth):
    """Episodes file by file in the order of their names, and by number within a file.

    Pictures are turned by 180°, both cameras', as openvla's data and evaluation have them. LIBERO's own notebooks turn
    them over top to bottom only, so one of the two is the other's mirror image; evaluation has to do what training did.
    """

    def __init__(self, header: Header, demonstrations: Sequence[Demonstration]) -> None:
        self._demonstrations = demonstrations
        super().__init__(header)

    def key(self, index: int) -> str:
        demonstration = self._demonstrations[index]
        return f"{demonstration.name} of {demonstration.path.name}"

    def stored(self, index: int) -> Stored:
        demonstration = self._demonstrations[index]
        with opened(demonstration.path) as file:
            return Stored(
                state=matrix(file, demonstration, STATE),
                action=matrix(file, demonstration, ["actions"]),
            )

    def pictures(self, index: int, frames: Sequence[int]) -> list[np.ndarray]:
        demonstration = self._demonstrations[index]
        with opened(demonstration.path) as file:
            return [picture[::-1, ::-1] for picture in pictures(file, demonstration, self.camera, frames)]

    def depth(self, index: int, column: str) -> np.ndarray | None:
        demonstration = self._demonstrations[index]
        with opened(demonstration.path) as file:
            found = depth_pictures(file, demonstration, column)
        return None if found is None else found[:, ::-1, ::-1]


def open_libero(root: Path, camera: str | None = None) -> LiberoDataset:
    """Open one file, or a folder with the files of a suite; `camera` is agentview_rgb if nothing is said.

    The instruction is the one that LIBERO's benchmark gives at evaluation, which it makes of the file's name
    (`…_demo.hdf5`); a file named otherwise has the `language_instruction` of its problem_info. The two differ for 29 of
    LIBERO's 130 tasks. Raises UserError, which names file and episode, where something is missing or damaged.
    """
    found: list[Demonstration] = []
    episodes: list[EpisodeFacts] = []
    rates: set[float | None] = set()
    cameras: tuple[str, ...] = ()
    for path in libero_files(root):
        with opened(path) as file:
            texts = attributes(file, path)
            instruction = _instruction(path, texts)
            _check_convention(path, texts)
            rates.add(control_frequency(json_attribute(texts, "env_args", path)))
            here = demonstrations(file, path)
            seen = tuple(name for name in observed(file, here[0]) if name.endswith("_rgb"))
        cameras = tuple(name for name in cameras if name in seen) if found else seen
        for demonstration in here:
            episodes.append(EpisodeFacts(index=len(episodes), length=demonstration.length, instruction=instruction))
            found.append(demonstration)
    header = Header(
        root=root,
        format="LIBERO HDF5",
        cameras=cameras,
        camera=choose_camera(camera, cameras, root),
        fps=rates.pop() if len(rates) == 1 else None,
        state_names=STATE_NAMES,
        action_names=ACTION_NAMES,
        episodes=tuple(episodes),
    )
    return LiberoDataset(header, found)


def libero_files(root: Path) -> list[Path]:
    """The file, or the folder's HDF5 files by name; raises UserError where there is none."""
    if root.is_file():
        return [root]
    files = sorted(path for path in root.iterdir() if path.suffix in SUFFIXES) if root.is_dir() else []
    if not files:
        raise UserError(f"There is no HDF5 file {root}, and no folder of that name with some ({', '.join(SUFFIXES)}).")
    return files


def task_of(path: Path) -> str | None:
    """The words of a file's name, without its scene; None for a name that is not one of LIBERO's."""
    name = re.fullmatch(r"(?:[A-Z_]+_SCENE\d+_)?(.+)_demo", path.stem)
    return name[1].replace("_", " ") if name else None


def _instruction(path: Path, texts: dict[str, str]) -> str:
    words = json_attribute(texts, MARK, path).get("language_instruction", "")
    told = (" ".join(map(str, words)) if isinstance(words, list) else str(words)).strip('" ')
    instruction = task_of(path) or told
    if not instruction:
        raise UserError(
            f"{path} says no instruction: its name is not of the form WORDS_demo.hdf5, and the attribute {MARK} has no "
            "language_instruction. Rename the file."
        )
    return instruction


def _check_convention(path: Path, texts: dict[str, str]) -> None:
    convention = texts.get("macros_image_convention", UPSIDE_DOWN)
    if convention != UPSIDE_DOWN:
        raise UserError(
            f"The pictures of {path} were rendered by the convention '{convention}'; LIBERO's own are '{UPSIDE_DOWN}', "
            "and only those are known to be turned by 180°. Render the file again with LIBERO's create_dataset.py."
        )
