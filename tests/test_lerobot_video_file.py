"""Videos that we write: where LeRobot looks for them, read back picture by picture, the same bytes each time."""

import json
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from demonstrations import CAMERA, DATA, EPISODES, LENGTHS, episodes

from workbench.data import lerobot_video_file
from workbench.data.contract import Episode
from workbench.data.lerobot import open_dataset
from workbench.data.lerobot_video_file import encoder
from workbench.data.lerobot_write import write_dataset
from workbench.errors import UserError

VIDEO = f"videos/{CAMERA}/chunk-000/file-000.mp4"
SIDE = (48, 64)


def moving(lengths: tuple[int, ...] = LENGTHS, side: tuple[int, int] = SIDE) -> list[Episode]:
    """The same vectors as elsewhere; pictures of a bright bar that stands elsewhere in every frame."""
    given = episodes(lengths, side=side)
    for index, episode in enumerate(given):
        episode.image[:] = 40 + 20 * index
        for step, picture in enumerate(episode.image):
            picture[:, 6 * step : 6 * step + 8] = (220, 40, 120)
    return given


def write(root: Path, given: list[Episode]) -> Path:
    names = {"action_names": ("x", "y", "gripper"), "state_names": ("tip", "grip")}
    return write_dataset(root, given, fps=10, robot_type="suction", video=True, **names)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "demos", moving())


@pytest.mark.parametrize("codec", ["h264", "mpeg4"])
def test_every_picture_comes_back_as_itself(tmp_path, monkeypatch, codec):
    chosen = {name: written for name, written in lerobot_video_file.ENCODERS.items() if written == codec}
    monkeypatch.setattr(lerobot_video_file, "ENCODERS", chosen)
    dataset = open_dataset(write(tmp_path / "demos", moving()))
    frames = dataset.frames([3, 0, 2, 1])
    given = [moving()[index] for index in (3, 0, 2, 1)]
    wanted = np.concatenate([episode.image for episode in given]).astype(int)
    error_NN = np.abs(frames.image[:, None].astype(int) - wanted).mean(axis=(2, 3, 4))
    assert error_NN.argmin(axis=1).tolist() == list(range(len(wanted))), "each is nearest to its own"
    assert error_NN.diagonal().max() < 6
    np.testing.assert_array_equal(frames.action, np.concatenate([episode.action for episode in given]))
    assert dataset.info.features[CAMERA].info == dataset.info.features[CAMERA].info | {"video.codec": codec}


def test_each_episode_has_its_place_in_the_video(root):
    rows = pq.read_table(root / EPISODES).to_pylist()
    begins = np.array([0, 5, 6, 13, 17]) / 10
    key = f"videos/{CAMERA}"
    assert [row[f"{key}/from_timestamp"] for row in rows] == pytest.approx(begins[:-1])
    assert [row[f"{key}/to_timestamp"] for row in rows] == pytest.approx(begins[1:])
    assert {(row[f"{key}/chunk_index"], row[f"{key}/file_index"]) for row in rows} == {(0, 0)}


def test_packets_are_decoded_a_picture_ahead_as_lerobots_are(root):
    """Its `aggregate_datasets` appends packets, and refuses one that is not decoded later than the one before."""
    with av.open(str(root / VIDEO)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.dts is not None]
    (ahead,) = {(packet.pts - packet.dts) * packet.time_base * 10 for packet in packets}
    assert ahead == (1 if encoder() == "libx264" else 0)


def test_the_video_is_what_lerobot_encodes(root):
    info = json.loads((root / "meta/info.json").read_text())
    assert info["video_path"].format(video_key=CAMERA, chunk_index=0, file_index=0) == VIDEO
    feature = info["features"][CAMERA]
    assert (feature["dtype"], feature["shape"]) == ("video", [*SIDE, 3])
    assert CAMERA not in pq.read_schema(root / DATA).names
    with av.open(root / VIDEO) as container:
        stream = container.streams.video[0]
        assert feature["info"] == {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec.canonical_name,
            "video.pix_fmt": stream.pix_fmt,
            "video.is_depth_map": False,
            "video.fps": stream.average_rate,
            "video.channels": 3,
            "has_audio": bool(container.streams.audio),
        }
        packets = [packet for packet in container.demux(stream) if packet.pts is not None]
        times = [float(packet.pts * packet.time_base) for packet in packets]
    assert times == pytest.approx(np.arange(sum(LENGTHS)) / 10)
    keys = np.flatnonzero([packet.is_keyframe for packet in packets]).tolist()
    assert {0, 5, 6, 13} <= set(keys), "every episode begins with a keyframe"
    assert max(np.diff([*keys, sum(LENGTHS)])) <= 2


def test_the_same_episodes_are_the_same_bytes(root, tmp_path):
    again = write(tmp_path / "again", moving())
    assert (again / VIDEO).read_bytes() == (root / VIDEO).read_bytes()
    assert open_dataset(again).digest == open_dataset(root).digest


def test_many_episodes_are_spread_over_videos(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot_video_file, "VIDEO_FILE_MEGABYTES", 1e-6)
    given = moving((60, 70, 4))
    dataset = open_dataset(write(tmp_path / "demos", given))
    assert [record.video.path.name for record in dataset.records] == [f"file-00{index}.mp4" for index in range(3)]
    for index, episode in enumerate(given):
        assert np.abs(dataset.episode(index).image.astype(int) - episode.image).mean() < 6


def test_an_odd_size_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="Pictures of 9 x 6 pixels cannot be encoded .* Write images instead"):
        write(tmp_path / "demos", moving((2,), side=(6, 9)))
    assert list(tmp_path.iterdir()) == []
