"""Datasets with videos, and of v2.1, written by hand: read frame by frame, and every planted fault found."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import lerobot_by_hand as by_hand
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_by_hand import CAMERAS, FPS, LENGTHS, TASKS, shade, vectors, write_v21, write_v30, write_video
from PIL import Image

from workbench.collect import open_data, resolved
from workbench.data.lerobot import open_dataset
from workbench.errors import UserError
from workbench.recipes import Folder

WRITERS = {"v2.1": write_v21, "v3.0": write_v30}
LAST_VIDEO = {
    "v2.1": f"videos/chunk-001/{CAMERAS[0]}/episode_000002.mp4",
    "v3.0": f"videos/{CAMERAS[0]}/chunk-000/file-001.mp4",
}
"""The front camera's of episode 2."""
LAST_DATA = {"v2.1": "data/chunk-001/episode_000002.parquet", "v3.0": "data/chunk-000/file-000.parquet"}
LAST_SHADES = [shade(0, 2, step) for step in range(LENGTHS[2])]


@pytest.fixture(params=WRITERS)
def version(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def root(version: str, tmp_path: Path) -> Path:
    return WRITERS[version](tmp_path / "demos")


@pytest.fixture
def older(tmp_path: Path) -> Path:
    return write_v21(tmp_path / "demos")


def greys(image: np.ndarray) -> np.ndarray:
    """The grey of each picture; all of its pixels are near it."""
    assert image.dtype == np.uint8 and image.shape[1:] == (by_hand.HEIGHT, by_hand.WIDTH, 3)
    means = image.astype(float).mean(axis=(1, 2, 3))
    assert np.abs(image - means[:, None, None, None]).max() < 4
    return means


@pytest.mark.parametrize("camera", [0, 1])
def test_every_frame_of_every_episode_and_camera_is_its_own(root, version, camera):
    dataset = open_dataset(root, CAMERAS[camera])
    assert dataset.format == f"LeRobot {version}" and dataset.cameras == CAMERAS and dataset.fps == FPS
    assert dataset.action_names == ("x", "y", "gripper")
    for index in (2, 0, 1):
        episode = dataset.episode(index)
        wanted = [shade(camera, index, step) for step in range(LENGTHS[index])]
        np.testing.assert_allclose(greys(episode.image), wanted, atol=1.4)
        state, action = vectors(index)
        np.testing.assert_array_equal(episode.state, state)
        np.testing.assert_array_equal(episode.action, action)
        np.testing.assert_array_equal(dataset.vectors(index).action, action)
        assert episode.instruction == TASKS[index % 2] == dataset.episodes[index].instruction
    frames = dataset.frames([2, 0])
    np.testing.assert_array_equal(frames.image, np.concatenate([dataset.episode(i).image for i in (2, 0)]))
    assert [frames.tasks[index] for index in frames.task_index] == [TASKS[0]] * len(frames)


def test_the_camera_must_be_named_and_depth_is_none(root):
    with pytest.raises(UserError, match=f"has 2 cameras: {', '.join(CAMERAS)}. Name the one to read"):
        open_dataset(root)
    with pytest.raises(UserError, match="No camera named 'observation.images.depth'"):
        open_dataset(root, "observation.images.depth")


def test_statistics_are_those_of_all_frames(root):
    statistics = open_dataset(root, CAMERAS[0]).statistics
    for feature, record in by_hand.statistics(range(len(LENGTHS)), quantiles=True).items():
        for name, wanted in record.items():
            np.testing.assert_allclose(getattr(statistics[feature], name), np.squeeze(wanted), err_msg=name)


def test_the_digest_follows_the_cameras_videos(root, version):
    before = [open_dataset(root, camera).digest for camera in CAMERAS]
    write_video(root / LAST_VIDEO[version], [100] * LENGTHS[2])
    after = [open_dataset(root, camera).digest for camera in CAMERAS]
    assert after[0] != before[0] and after[1] == before[1]


def test_a_missing_video_is_named_at_once(root, version):
    (root / LAST_VIDEO[version]).unlink()
    with pytest.raises(UserError, match=f"{LAST_VIDEO[version]} is missing"):
        open_dataset(root, CAMERAS[0])
    assert len(open_dataset(root, CAMERAS[1]).episode(2).image) == LENGTHS[2], "the other camera is sound"


def test_a_missing_data_file_is_named_at_once(root, version):
    (root / LAST_DATA[version]).unlink()
    with pytest.raises(UserError, match=f"{LAST_DATA[version]} is missing"):
        open_dataset(root, CAMERAS[0])


@pytest.mark.parametrize("flags", ["", "faststart"], ids=["index last", "index first"])
def test_a_truncated_video_is_named(root, version, flags):
    path = root / LAST_VIDEO[version]
    write_video(path, LAST_SHADES, flags=flags)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 100])
    dataset = open_dataset(root, CAMERAS[0])
    with pytest.raises(UserError, match=f"{LAST_VIDEO[version]} (is not a whole video|is damaged|ends before frame)"):
        dataset.episode(2)
    assert len(dataset.episode(1).image) == LENGTHS[1], "the other episodes are sound"


def test_a_video_with_too_few_pictures_is_named_with_the_first_that_is_missing(root, version):
    write_video(root / LAST_VIDEO[version], LAST_SHADES[:-2])
    with pytest.raises(UserError, match=rf"{LAST_VIDEO[version]} ends before frame 5 of episode 2, .* at 0.500 s"):
        open_dataset(root, CAMERAS[0]).episode(2)


def test_a_video_whose_first_pictures_are_missing_is_named(root, version):
    write_video(root / LAST_VIDEO[version], LAST_SHADES[1:], start=1)
    with pytest.raises(UserError, match="Frame 0 of episode 2 should be at 0.000 s of .* next picture is at 0.100 s"):
        open_dataset(root, CAMERAS[0]).episode(2)


@pytest.mark.parametrize("rate", [5, 9, 15, 20])
def test_a_video_of_another_rate_is_named_by_episode_and_frame(root, version, rate):
    write_video(root / LAST_VIDEO[version], LAST_SHADES * 3, rate=rate)
    with pytest.raises(UserError, match=r"Frame \d of episode 2 should be at .* or the video has not 10 a second"):
        open_dataset(root, CAMERAS[0]).episode(2)


def test_a_file_that_is_no_video_is_named(root, version):
    (root / LAST_VIDEO[version]).write_bytes(b"<html>404</html>")
    with pytest.raises(UserError, match=f"{LAST_VIDEO[version]} is not a whole video"):
        open_dataset(root, CAMERAS[0]).episode(2)


def edit_lines(path: Path, edit: Callable[[list], object]) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    edit(lines)
    path.write_text("\n".join(json.dumps(line) for line in lines))


@pytest.mark.parametrize("name", ["tasks.jsonl", "episodes.jsonl"])
def test_missing_or_broken_lines_are_named(older, name):
    path = older / "meta" / name
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(UserError, match=f"Line . of .*{name} has no '"):
        open_dataset(older, CAMERAS[0])
    path.write_text("{")
    with pytest.raises(UserError, match=f"{name} is not JSON lines"):
        open_dataset(older, CAMERAS[0])
    path.unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        open_dataset(older, CAMERAS[0])


@pytest.mark.parametrize(
    ("name", "edit", "sentence"),
    [
        ("tasks.jsonl", lambda lines: lines.pop(), "does not list each of 2 tasks"),
        ("episodes.jsonl", lambda lines: lines.pop(), "describes 2 episodes with 8 frames, but .* says 3 with 15"),
        ("episodes_stats.jsonl", lambda lines: lines.pop(), "does not have each of 3 episodes once"),
        ("episodes_stats.jsonl", lambda lines: lines[1]["stats"].pop("action"), "no statistics of 'action' for its 3"),
        ("episodes_stats.jsonl", lambda lines: lines[1]["stats"]["action"].pop("std"), "of an episode's 'action' lack"),
    ],
)
def test_metadata_that_do_not_fit_are_an_error(older, name, edit, sentence):
    edit_lines(older / "meta" / name, edit)
    with pytest.raises(UserError, match=sentence):
        open_dataset(older, CAMERAS[0])


def test_a_set_converted_from_v20_keeps_its_statistics_in_one_file(older):
    (older / "meta/episodes_stats.jsonl").unlink()
    with pytest.raises(UserError, match=r"meta/stats.json is missing"):
        open_dataset(older, CAMERAS[0])
    whole = by_hand.statistics(range(len(LENGTHS)), quantiles=False)
    (older / "meta/stats.json").write_text(json.dumps(whole))
    statistics = open_dataset(older, CAMERAS[0]).statistics["action"]
    assert statistics.count == sum(LENGTHS)
    np.testing.assert_allclose(statistics.std, whole["action"]["std"])


def test_a_value_that_is_not_finite_is_named_when_quantiles_are_computed(older):
    path = older / LAST_DATA["v2.1"]
    table = pq.read_table(path)
    rows = table["action"].to_pylist()
    rows[3][1] = float("nan")
    place = table.schema.get_field_index("action")
    pq.write_table(table.set_column(place, "action", pa.array(rows, table.schema.field(place).type)), path)
    with pytest.raises(UserError, match=f"'action' is nan in dimension 1 at row 3 of .*{LAST_DATA['v2.1']}"):
        open_dataset(older, CAMERAS[0])


def test_v21_keeps_images_in_its_data_files_too(older):
    """One camera's pictures as PNG bytes, the other's in videos."""
    name, noise = "observation.images.still", np.random.default_rng(0).integers(0, 256, (15, 4, 6, 3), dtype=np.uint8)
    place = 0
    for path in sorted((older / "data").rglob("*.parquet")):
        table = pq.read_table(path)
        cells = []
        for picture in noise[place : place + len(table)]:
            sink = io.BytesIO()
            Image.fromarray(picture).save(sink, format="PNG")
            cells.append({"bytes": sink.getvalue(), "path": f"frame_{place}.png"})
        place += len(table)
        pq.write_table(table.append_column(name, pa.array(cells)), path)
    info = json.loads((older / "meta/info.json").read_text())
    info["features"][name] = {"dtype": "image", "shape": [4, 6, 3], "names": ["height", "width", "channel"]}
    (older / "meta/info.json").write_text(json.dumps(info))
    still = open_dataset(older, name)
    np.testing.assert_array_equal(still.frames(range(3)).image, noise)
    np.testing.assert_array_equal(still.episode(1).image, noise[5:8])
    assert open_dataset(older, CAMERAS[0]).episode(1).image.shape[1:] == (by_hand.HEIGHT, by_hand.WIDTH, 3)


def test_a_plan_names_the_camera_and_older_plans_are_what_they_were(older):
    plain, named = Folder(path=str(older)), Folder(path=str(older), camera=CAMERAS[1])
    assert set(plain.model_dump()) == {"kind", "path", "digest"} and named.model_dump()["camera"] == CAMERAS[1]
    with pytest.raises(UserError, match="Name the one to read"):
        open_data(older, plain)
    known = resolved(named)
    assert isinstance(known, Folder) and known.digest == open_dataset(older, CAMERAS[1]).digest
    assert open_data(older, known).camera == CAMERAS[1]
