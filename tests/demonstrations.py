"""Small random demonstrations, and a dataset of them on disk."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from workbench.data.contract import Episode
from workbench.data.lerobot_write import write_dataset

LENGTHS = (5, 1, 7, 4)
DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
TASKS = "meta/tasks.parquet"
CAMERA = "observation.images.front"
COLUMNS = [CAMERA, "observation.state", "action"]
COUNTERS = ["timestamp", "frame_index", "episode_index", "index", "task_index"]


def episodes(lengths: Iterable[int] = LENGTHS, *, states: int = 2, side: tuple[int, int] = (6, 9)) -> list[Episode]:
    """Episodes of noise, the same at every call; two instructions in turn."""
    generator = np.random.default_rng(0)
    return [
        Episode(
            image=generator.integers(0, 256, (steps, *side, 3), dtype=np.uint8),
            state=generator.normal(size=(steps, states)).astype(np.float32),
            action=generator.uniform(-1, 1, (steps, 3)).astype(np.float32),
            instruction=f"reach the {('red', 'blue')[index % 2]} block",
        )
        for index, steps in enumerate(lengths)
    ]


def write(root: Path, given: Iterable[Episode], *, state_names: tuple[str, ...] = ("tip", "grip")) -> Path:
    """Those episodes at `root`."""
    action_names = ("x", "y", "gripper")
    return write_dataset(root, given, fps=10, robot_type="suction", action_names=action_names, state_names=state_names)
