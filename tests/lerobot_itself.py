"""What `lerobot` does with datasets, as a script for a Python that has it, and nothing of the workbench.

python lerobot_itself.py read FOLDER FILE.npz      every frame as LeRobotDataset gives it, and what it knows
python lerobot_itself.py write FOLDER image|CODEC  the episodes of `demo`, recorded
python lerobot_itself.py resume FOLDER             one more episode, recorded onto those that are there
python lerobot_itself.py merge FOLDER FIRST SECOND two datasets put together
python lerobot_itself.py upgrade PARENT NAME       the v2.1 dataset of that name made one of v3.0, in its place
"""

import os
import sys
from pathlib import Path

import numpy as np

os.environ["HF_HUB_OFFLINE"] = "1"

CAMERAS = ("front", "wrist")
SIDE = (48, 64)
FPS = 10
LENGTHS = (5, 3, 7)
TASKS = ("reach the red block", "push the plate", "reach the red block")
BLUE = 200
"""Of every picture's right half: colours, and where they are."""


def shade(camera: int, episode: int, step: int) -> int:
    """How light a picture is: each frame's is another, and further from the next than encoding moves it."""
    return 15 + 8 * (episode * 7 + step) + 3 * camera


def demo(episode: int) -> list[dict]:
    """The frames of an episode, as LeRobot is given them."""
    generator = np.random.default_rng(episode)
    frames = []
    for step in range(LENGTHS[episode % len(LENGTHS)]):
        frame: dict = {"task": TASKS[episode % len(TASKS)]}
        for place, camera in enumerate(CAMERAS):
            image = np.full((*SIDE, 3), shade(place, episode, step), np.uint8)
            image[:, SIDE[1] // 2 :, 2] = BLUE
            frame[f"observation.images.{camera}"] = image
        frame["observation.state"] = generator.normal(size=2).astype(np.float32)
        frame["action"] = generator.uniform(-1, 1, 3).astype(np.float32)
        frames.append(frame)
    return frames


def read(root: Path, destination: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("local/read", root=root)
    rows = [dataset[index] for index in range(len(dataset))]
    found = {name: np.stack([row[name].numpy() for row in rows]) for name in dataset.features}
    found["task"] = np.array([row["task"] for row in rows])
    chunks = LeRobotDataset("local/read", root=root, delta_timestamps={"action": [0.0, 1 / dataset.fps]})
    found["chunk"] = np.stack([chunks[index]["action"].numpy() for index in range(len(chunks))])
    last = LeRobotDataset("local/read", root=root, episodes=[dataset.num_episodes - 1])
    camera = dataset.meta.camera_keys[0]
    found["last"] = np.stack([last[index][camera].numpy() for index in range(len(last))])
    for name, figures in dataset.meta.stats.items():
        found |= {f"stats/{name}/{figure}": np.asarray(value) for figure, value in figures.items()}
    np.savez(destination, **found)


def write(root: Path, mode: str) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    kind = "image" if mode == "image" else "video"
    shape = {"dtype": kind, "shape": (*SIDE, 3), "names": ["height", "width", "channels"]}
    features = {f"observation.images.{camera}": shape for camera in CAMERAS} | {
        "observation.state": {"dtype": "float32", "shape": (2,), "names": ["tip", "grip"]},
        "action": {"dtype": "float32", "shape": (3,), "names": ["x", "y", "gripper"]},
    }
    codec = {} if kind == "image" else {"vcodec": mode}
    dataset = LeRobotDataset.create("local/write", FPS, features, root=root, use_videos=kind == "video", **codec)
    for episode in range(len(LENGTHS)):
        record(dataset, episode)
    dataset.finalize()


def resume(root: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("local/resume", root=root)
    dataset.vcodec = "h264"
    dataset.episode_buffer = dataset.create_episode_buffer()
    record(dataset, dataset.num_episodes)
    dataset.finalize()


def record(dataset, episode: int) -> None:
    for frame in demo(episode):
        dataset.add_frame({name: value for name, value in frame.items() if name in dataset.features or name == "task"})
    dataset.save_episode()


def merge(root: Path, *parts: str) -> None:
    from lerobot.datasets.aggregate import aggregate_datasets

    aggregate_datasets([f"local/{part}" for part in parts], "local/merge", [Path(part) for part in parts], root)


def upgrade(parent: Path, name: str) -> None:
    from lerobot.datasets.v30.convert_dataset_v21_to_v30 import convert_dataset

    convert_dataset(name, root=parent, push_to_hub=False)


if __name__ == "__main__":
    command, folder, *rest = sys.argv[1:]
    match command:
        case "read":
            read(Path(folder), Path(rest[0]))
        case "write":
            write(Path(folder), rest[0])
        case "resume":
            resume(Path(folder))
        case "merge":
            merge(Path(folder), *rest)
        case "upgrade":
            upgrade(Path(folder), rest[0])
