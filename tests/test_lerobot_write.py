import json
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from demonstrations import CAMERA, COLUMNS, COUNTERS, DATA, EPISODES, LENGTHS, TASKS, episodes, write

from workbench.data import lerobot_write
from workbench.data.contract import Episode
from workbench.data.lerobot import open_dataset
from workbench.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "demos", episodes())


def test_plain_pyarrow_finds_the_documented_columns_and_kinds(root):
    table = pq.read_table(root / DATA)
    assert table.column_names == COLUMNS + COUNTERS
    assert table.schema.field(CAMERA).type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert table.schema.field("action").type == pa.list_(pa.float32(), 3)
    assert [table.schema.field(name).type for name in COUNTERS] == [pa.float32()] + [pa.int64()] * 4
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features[CAMERA] == {"_type": "Image"}
    assert features["action"] == {"feature": features["timestamp"], "length": 3, "_type": "Sequence"}
    assert table["index"].to_pylist() == list(range(sum(LENGTHS)))
    assert table["timestamp"].to_pylist()[:3] == pytest.approx([0.0, 0.1, 0.2])
    assert pq.ParquetFile(root / DATA).num_row_groups == len(LENGTHS)


def test_tasks_are_the_index_that_pandas_finds(root):
    tasks = pq.read_table(root / TASKS)
    assert tasks.to_pydict() == {"task_index": [0, 1], "task": ["reach the red block", "reach the blue block"]}
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_each_episode_has_a_row_of_metadata_with_its_statistics(root):
    rows = pq.read_table(root / EPISODES).to_pylist()
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in rows] == [(0, 5), (5, 6), (6, 13), (13, 17)]
    assert [row["length"] for row in rows] == list(LENGTHS)
    assert rows[1]["tasks"] == ["reach the blue block"]
    assert {key for key in rows[0] if key.endswith("_index") and "/" in key} == {
        f"{what}/{part}_index" for what in ("data", "meta/episodes") for part in ("chunk", "file")
    }
    np.testing.assert_array_equal(rows[2]["stats/action/max"], episodes()[2].action.max(axis=0))
    assert np.shape(rows[0][f"stats/{CAMERA}/mean"]) == (3, 1, 1)
    assert rows[2]["stats/index/count"] == [7]


def test_the_info_is_lerobots(root):
    info = json.loads((root / "meta/info.json").read_text())
    counts = {"total_episodes": 4, "total_frames": 17, "total_tasks": 2, "fps": 10, "chunks_size": 1000}
    kind = {"codebase_version": "v3.0", "robot_type": "suction", "video_path": None, "splits": {"train": "0:4"}}
    assert info == info | counts | kind
    assert info["data_path"].format(chunk_index=0, file_index=0) == DATA
    names = ["height", "width", "channels"]
    assert info["features"][CAMERA] == {"dtype": "image", "shape": [6, 9, 3], "names": names}
    assert info["features"]["action"] == {"dtype": "float32", "shape": [3], "names": ["x", "y", "gripper"]}
    assert info["features"]["index"] == {"dtype": "int64", "shape": [1], "names": None}


def test_the_same_episodes_are_the_same_bytes(root, tmp_path):
    again = write(tmp_path / "again", episodes())
    for name in (DATA, EPISODES, TASKS, "meta/info.json", "meta/stats.json"):
        assert (again / name).read_bytes() == (root / name).read_bytes(), name


def test_a_large_dataset_is_spread_over_files_and_unseen_until_complete(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot_write, "DATA_FILE_MEGABYTES", 1)
    given = episodes((15,) * 5, side=(128, 128))
    root = tmp_path / "demos"

    def watched():
        for episode in given:
            assert not root.exists()
            yield episode

    write(root, watched())
    files = sorted(path.name for path in (root / "data").rglob("*.parquet"))
    assert files == ["file-000.parquet", "file-001.parquet", "file-002.parquet"]
    frames = open_dataset(root).frames([2, 1, 4])
    np.testing.assert_array_equal(frames.image, np.concatenate([given[index].image for index in (2, 1, 4)]))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_writing_leaves_nothing(tmp_path, stop, monkeypatch):
    monkeypatch.setattr(lerobot_write, "DATA_FILE_MEGABYTES", 1)

    def interrupted():
        yield from episodes((15,) * 2, side=(128, 128))
        assert list(tmp_path.rglob("*.parquet")), "a first file lies aside by now"
        raise stop

    with pytest.raises(stop):
        write(tmp_path / "demos", interrupted())
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_one_sentence_and_leaves_nothing(tmp_path):
    given = episodes((30,), side=(64, 64))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(UserError, match="cannot be written: File too large. Free some space"):
            write(tmp_path / "demos", given)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_written_over(root):
    before = open_dataset(root).digest
    with pytest.raises(UserError, match="exists already"):
        write(root, episodes((3,)))
    assert open_dataset(root).digest == before


def test_nothing_to_write_is_an_error(tmp_path):
    with pytest.raises(UserError, match="at least one episode"):
        write(tmp_path / "demos", [])


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_value_that_is_not_finite_is_refused_by_column_episode_and_frame(tmp_path, value):
    given = episodes()
    given[2].action[4, 2] = float(value)
    with pytest.raises(UserError, match=rf"'action' of episode 2 is {value} at frame 4 \(gripper\)"):
        write(tmp_path / "demos", given)
    assert list(tmp_path.iterdir()) == []


def test_episodes_that_do_not_fit_together_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"Episode 4 has images of \[8, 8, 3\]"):
        write(tmp_path / "a", [*episodes(), *episodes((3,), side=(8, 8))])
    with pytest.raises(UserError, match="episode 0 has 3 dimensions, but 2 names were given: tip, grip"):
        write(tmp_path / "b", episodes(states=3))


def test_an_episode_of_the_wrong_shape_is_refused_at_once():
    good = episodes()[0]
    with pytest.raises(ValueError, match=r"action is float32 \[5, D\].*got float32 \[4, 3\]"):
        Episode(good.image, good.state, good.action[1:], "reach")
    with pytest.raises(ValueError, match="image is uint8"):
        Episode(good.image / 255, good.state, good.action, "reach")
