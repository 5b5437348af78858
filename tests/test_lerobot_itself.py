"""Datasets go back and forth between the workbench and `lerobot` itself, in whose Python half of this runs.

Skipped unless `WORKBENCH_PYTHON_LEROBOT` names a Python that has `lerobot`: docs/data.md says how to make one.
"""

import json
import os
import subprocess
from pathlib import Path

import lerobot_by_hand as by_hand
import lerobot_itself as itself
import numpy as np
import pytest
from commands import say

from workbench.data.contract import Episode
from workbench.data.lerobot import open_dataset
from workbench.data.lerobot_write import write_dataset

PYTHON = os.environ.get("WORKBENCH_PYTHON_LEROBOT", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="WORKBENCH_PYTHON_LEROBOT names no Python with lerobot"),
]
FRONT, WRIST = (f"observation.images.{camera}" for camera in itself.CAMERAS)
FRAMES = sum(itself.LENGTHS)
LOSS = {"image": 0, "h264": 3, "libsvtav1": 3}
"""How far a picture may be from what was encoded, of 255 and in the mean over it; two frames are nearly 7 apart."""


def lerobot(*arguments: str | Path) -> None:
    """`lerobot_itself.py` there; what it says is shown where it fails."""
    apart = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = subprocess.run([PYTHON, itself.__file__, *map(str, arguments)], env=apart, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr


def read(root: Path) -> dict[str, np.ndarray]:
    """The dataset as lerobot gives it, the pictures as uint8 [N, H, W, 3]."""
    lerobot("read", root, root.with_suffix(".npz"))
    found = dict(np.load(root.with_suffix(".npz")))
    for name in [name for name in found if name == "last" or name.startswith("observation.images.")]:
        found[name] = np.rint(found[name] * 255).transpose(0, 2, 3, 1)
    return found


def demos(count: int = len(itself.LENGTHS)) -> list[list[dict]]:
    return [itself.demo(episode) for episode in range(count)]


def column(name: str, count: int = len(itself.LENGTHS)) -> np.ndarray:
    """[N, ...] of the episodes of `demo`, one after the other."""
    return np.stack([frame[name] for frames in demos(count) for frame in frames])


def ours(root: Path, *, video: bool, extra: bool = True) -> Path:
    """The episodes of `demo` as the workbench writes them, with a privileged column."""
    told = {"privileged.tip": ["x", "y"]} if extra else {}
    episodes = [
        Episode(
            np.stack([frame[FRONT] for frame in frames]),
            np.stack([frame["observation.state"] for frame in frames]),
            np.stack([frame["action"] for frame in frames]),
            frames[0]["task"],
            {name: np.arange(2 * len(frames), dtype=np.float32).reshape(-1, 2) for name in told},
        )
        for frames in demos()
    ]
    names = {"action_names": ["x", "y", "gripper"], "state_names": ["tip", "grip"], "extra_names": told}
    return write_dataset(root, episodes, fps=itself.FPS, robot_type="demo", **names, video=video)


def furthest(image: np.ndarray, wanted: np.ndarray) -> float:
    """How far the worst of these pictures [N, H, W, 3] is from the one it should be."""
    return float(np.abs(image - wanted.astype(float)).mean(axis=(1, 2, 3)).max())


def problems(root: Path, camera: str = FRONT) -> dict:
    said = say("data", "check", str(root), "--camera", camera, "--format", "json")
    return json.loads(said.out)["problems"]


@pytest.mark.parametrize("mode", ["image", "h264"])
def test_what_we_write_is_what_lerobot_reads(tmp_path, mode):
    root = ours(tmp_path / "ours", video=mode == "h264")
    found = read(root)
    assert furthest(found[FRONT], column(FRONT)) <= LOSS[mode]
    np.testing.assert_array_equal(found["action"], column("action"))
    np.testing.assert_array_equal(found["observation.state"], column("observation.state"))
    assert found["privileged.tip"].shape == (FRAMES, 2)
    assert found["task"].tolist() == column("task").tolist()
    assert found["index"].tolist() == list(range(FRAMES))
    np.testing.assert_array_equal(found["last"], found[FRONT][-itself.LENGTHS[-1] :])
    ends = np.cumsum(itself.LENGTHS) - 1
    following = np.array([index if index in ends else index + 1 for index in range(FRAMES)])
    np.testing.assert_array_equal(found["chunk"], np.stack([column("action"), column("action")[following]], axis=1))
    dataset = open_dataset(root)
    for name, statistics in dataset.statistics.items():
        for figure, values in statistics.to_json().items():
            np.testing.assert_array_equal(found[f"stats/{name}/{figure}"], np.asarray(values))


@pytest.mark.parametrize("mode", ["image", "h264", "libsvtav1"])
def test_what_lerobot_records_opens_here(tmp_path, mode):
    root = tmp_path / "theirs"
    lerobot("write", root, mode)
    for camera in (FRONT, WRIST):
        dataset = open_dataset(root, camera)
        frames = dataset.frames(range(len(itself.LENGTHS)))
        assert furthest(frames.image, column(camera)) <= LOSS[mode]
        np.testing.assert_array_equal(frames.action, column("action"))
        np.testing.assert_array_equal(frames.state, column("observation.state"))
        assert [(each.length, each.instruction) for each in dataset.episodes] == list(
            zip(itself.LENGTHS, itself.TASKS, strict=True)
        )
        assert (dataset.fps, dataset.action_names) == (itself.FPS, ("x", "y", "gripper"))
        assert problems(root, camera) == []


def test_what_lerobot_encoded_and_we_converted_is_what_lerobot_reads(tmp_path):
    lerobot("write", tmp_path / "theirs", "libsvtav1")
    new = tmp_path / "new"
    said = say("data", "convert", str(tmp_path / "theirs"), str(new), "--camera", WRIST, "--to", "lerobot", "--video")
    assert said.code == 0, said
    found = read(new)
    assert furthest(found[open_dataset(new).camera], column(WRIST)) <= LOSS["libsvtav1"] + LOSS["h264"]
    np.testing.assert_array_equal(found["action"], column("action"))
    assert found["task"].tolist() == column("task").tolist()


@pytest.mark.parametrize("mode", ["image", "h264"])
def test_lerobot_records_onto_what_we_wrote_and_merges_it(tmp_path, mode):
    root = ours(tmp_path / "ours", video=mode == "h264", extra=False)
    more = ours(tmp_path / "more", video=mode == "h264", extra=False)
    lerobot("resume", more)
    dataset = open_dataset(more)
    frames = dataset.frames(range(4))
    assert furthest(frames.image, column(FRONT, 4)) <= LOSS[mode]
    np.testing.assert_array_equal(frames.action, column("action", 4))
    assert problems(more) == []
    lerobot("merge", tmp_path / "both", root, more)
    both = open_dataset(tmp_path / "both").frames(range(7))
    np.testing.assert_array_equal(both.action, np.concatenate([column("action"), column("action", 4)]))
    assert furthest(both.image, np.concatenate([column(FRONT), column(FRONT, 4)])) <= LOSS[mode]
    assert {problem["kind"] for problem in problems(tmp_path / "both")} == {"duplicate"}


def test_lerobots_upgrade_from_v21_says_what_we_read_of_v21(tmp_path):
    root = by_hand.write_v21(tmp_path / "old")
    info = root / "meta/info.json"
    told = json.loads(info.read_text())
    del told["features"]["observation.images.depth"]  # the videos of which are not written
    info.write_text(json.dumps(told))
    before = open_dataset(root, WRIST)
    held = before.frames(range(3))
    lerobot("upgrade", tmp_path, "old")
    after = open_dataset(root, WRIST)
    frames = after.frames(range(3))
    assert (before.format, after.format) == ("LeRobot v2.1", "LeRobot v3.0")
    np.testing.assert_array_equal(frames.image, held.image)
    np.testing.assert_array_equal(frames.action, held.action)
    for name, statistics in before.statistics.items():
        for figure, values in statistics.to_json().items():
            np.testing.assert_allclose(after.statistics[name].to_json()[figure], values, rtol=1e-12)
