"""Small demonstrations of an arm with seven actions, and data sets of them on disk."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from workbench.data.contract import Episode
from workbench.data.description import Description, describe, to_toml
from workbench.data.lerobot_write import write_dataset

TASKS = ("open the drawer", "close the drawer")
ACTIONS = ("x", "y", "z", "ax", "ay", "az", "grip")
STATES = ("ex", "ey", "ez", "ea", "eb", "ec", "left", "right")


def arm(count: int = 6, steps: int = 5) -> list[Episode]:
    """Episodes of noise, the same at every call, two tasks in turn; actions as LIBERO stores them."""
    random = np.random.default_rng(0)
    made = []
    for index in range(count):
        action = random.uniform(-1, 1, (steps, 7)).astype(np.float32)
        action[:, 6] = np.where(np.arange(steps) < 2, -1, 1)
        state = random.normal(size=(steps, 8)).astype(np.float32)
        image = random.integers(0, 256, (steps, 8, 10, 3), dtype=np.uint8)
        made.append(Episode(image, state, action, TASKS[index % 2]))
    return made


def write_arm(root: Path, episodes: Iterable[Episode]) -> Path:
    """Those as a LeRobot data set."""
    return write_dataset(root, episodes, fps=20, robot_type="panda", action_names=ACTIONS, state_names=STATES)


def write_folder(root: Path, episodes: Iterable[Episode]) -> Path:
    """Those as a folder of episodes."""
    for index, episode in enumerate(episodes):
        folder = root / f"episode_{index:03d}"
        (folder / "frames").mkdir(parents=True)
        for step, picture in enumerate(episode.image):
            Image.fromarray(picture).save(folder / "frames" / f"{step:03d}.png")
        np.save(folder / "actions.npy", episode.action)
        np.save(folder / "state.npy", episode.state)
        (folder / "instruction.txt").write_text(episode.instruction)
    return root


def like_libero(path: Path, **changes: object) -> Description:
    """LIBERO's description with one camera, written to `path`; `changes` are fields of the description."""
    described = describe("libero").model_copy(update={"name": "mine", "cameras": {"front": "the scene"}, **changes})
    path.write_text(to_toml(described))
    return described
