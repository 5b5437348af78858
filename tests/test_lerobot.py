import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from demonstrations import CAMERA, COLUMNS, COUNTERS, DATA, EPISODES, LENGTHS, TASKS, episodes, write

from workbench.data.dataset import Dataset
from workbench.data.lerobot import open_dataset
from workbench.data.statistics import QUANTILES
from workbench.errors import UserError

INFO, STATISTICS = "meta/info.json", "meta/stats.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "demos", episodes())


def edit_json(path: Path, edit: Callable[[dict], object]) -> None:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def edit_column(path: Path, name: str, edit: Callable[[list], object]) -> None:
    table = pq.read_table(path)
    values = table[name].to_pylist()
    edit(values)
    field = table.schema.field(name)
    pq.write_table(table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type)), path)


def test_episodes_come_back_bit_for_bit(root):
    dataset = open_dataset(root)
    frames = dataset.frames(range(4))
    for name in ("image", "state", "action"):
        np.testing.assert_array_equal(getattr(frames, name), np.concatenate([getattr(e, name) for e in episodes()]))
        assert getattr(frames, name).dtype == getattr(episodes()[0], name).dtype
    np.testing.assert_array_equal(frames.episode, np.repeat(range(4), LENGTHS))
    np.testing.assert_array_equal(frames.step, np.concatenate([np.arange(steps) for steps in LENGTHS]))
    assert [frames.tasks[task] for task in frames.task_index] == [e.instruction for e in episodes() for _ in e.action]
    assert [(e.index, e.length, e.instruction) for e in dataset.episodes] == [
        (index, len(e.action), e.instruction) for index, e in enumerate(episodes())
    ]


def test_chosen_episodes_come_in_the_order_of_the_choice(root):
    frames = open_dataset(root).frames([3, 0])
    np.testing.assert_array_equal(frames.action, np.concatenate([episodes()[3].action, episodes()[0].action]))
    np.testing.assert_array_equal(frames.image, np.concatenate([episodes()[3].image, episodes()[0].image]))


def test_a_state_of_one_dimension_is_a_scalar_on_disk_and_a_vector_in_memory(tmp_path):
    root = write(tmp_path / "demos", episodes(states=1), state_names=("tip",))
    assert pq.read_schema(root / DATA).field("observation.state").type == pa.float32()
    np.testing.assert_array_equal(open_dataset(root).frames([2]).state, episodes(states=1)[2].state)


def test_statistics_are_those_of_every_frame(root):
    statistics = open_dataset(root).statistics
    assert set(statistics) == {*COLUMNS, *COUNTERS}
    action = np.concatenate([episode.action for episode in episodes()]).astype(np.float64)
    np.testing.assert_allclose(statistics["action"].mean, action.mean(axis=0))
    np.testing.assert_allclose(statistics["action"].q99, np.quantile(action, 0.99, axis=0))
    pixels = np.concatenate([episode.image.reshape(-1, 3) for episode in episodes()]) / 255
    np.testing.assert_allclose(statistics[CAMERA].mean.ravel(), pixels.mean(axis=0))
    assert statistics["action"].count == statistics[CAMERA].count == sum(LENGTHS)


def test_chunks_repeat_the_last_action_and_stay_in_their_episode(root):
    chunks = open_dataset(root).frames([0, 1, 2]).chunks(3)
    assert chunks.action.shape == (13, 3, 3) and chunks.padded.shape == (13, 3)
    first = episodes()[0].action
    np.testing.assert_array_equal(chunks.action[0], first[:3])
    np.testing.assert_array_equal(chunks.action[3], first[[3, 4, 4]])
    np.testing.assert_array_equal(chunks.action[5], np.repeat(episodes()[1].action, 3, axis=0))
    padding = ["".join("P" if past else "." for past in row) for row in chunks.padded]
    assert padding == ["...", "...", "...", "..P", ".PP", ".PP", "...", "...", "...", "...", "...", "..P", ".PP"]


def test_the_digest_follows_the_content_and_not_the_place(root, tmp_path):
    digest = open_dataset(root).digest
    (tmp_path / "seed=3").mkdir()
    moved = root.rename(tmp_path / "seed=3" / ".moved")
    assert open_dataset(moved).digest == digest
    assert len(open_dataset(moved).frames([2])) == 7
    other = episodes()
    other[3].action[0, 0] += 1e-6
    assert open_dataset(write(tmp_path / "other", other)).digest != digest


def test_lerobots_unnamed_task_index_is_read(root):
    table = pq.read_table(root / TASKS)
    pq.write_table(table.rename_columns(["task_index", "__index_level_0__"]), root / TASKS)
    assert open_dataset(root).tasks == ("reach the red block", "reach the blue block")


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no dataset folder .*nowhere. `workbench collect` writes one"):
        open_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [INFO, STATISTICS, TASKS, DATA])
def test_a_missing_file_is_named(root, name):
    (root / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        open_dataset(root)


@pytest.mark.parametrize("name", [INFO, STATISTICS])
@pytest.mark.parametrize("content", ["{", "[]"])
def test_metadata_that_are_no_json_object_are_named(root, name, content):
    (root / name).write_text(content)
    with pytest.raises(UserError, match=f"{name} (is not JSON|holds a list)"):
        open_dataset(root)


@pytest.mark.parametrize("name", [DATA, EPISODES, TASKS])
def test_a_truncated_file_is_named(root, name):
    content = (root / name).read_bytes()
    (root / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=f"{name} is not a whole parquet file"):
        open_dataset(root)


def test_damaged_bytes_within_a_file_are_an_error_when_it_is_read(root):
    content = bytearray((root / DATA).read_bytes())
    content[300:700] = bytes(400)
    (root / DATA).write_bytes(content)
    with pytest.raises(UserError, match="is not a whole parquet file|is damaged"):
        open_dataset(root).frames(range(4))


@pytest.mark.parametrize("name", [*COLUMNS, *COUNTERS])
def test_a_missing_column_is_named_with_those_present(root, name):
    table = pq.read_table(root / DATA).drop_columns([name])
    pq.write_table(table, root / DATA)
    with pytest.raises(UserError, match=f"{DATA} has no column '{name}'. It has: {', '.join(table.column_names)}."):
        open_dataset(root)


@pytest.mark.parametrize("name", ["observation.state", "action", "task_index"])
def test_a_column_that_the_info_does_not_know_is_missing(root, name):
    edit_json(root / INFO, lambda info: info["features"].pop(name))
    with pytest.raises(UserError, match=f"has no column '{name}'. It has: {CAMERA}"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"codebase_version": "v2.0"}, "format v2.0, and v3.0 or v2.1 is needed"),
        ({"fps": 0}, "info.json: fps: Input should be greater than 0"),
        ({"data_path": "data/{episode_index}.parquet"}, "data_path: .*not 'episode_index'"),
        ({"total_frames": 18}, "4 episodes with 17 frames, but meta/info.json says 4 with 18"),
        ({"total_episodes": 5}, "4 episodes with 17 frames, but meta/info.json says 5"),
        ({"total_tasks": 3}, "tasks.parquet does not list each of 3 tasks"),
    ],
)
def test_an_info_that_does_not_fit_is_an_error(root, changes, sentence):
    edit_json(root / INFO, lambda info: info.update(changes))
    with pytest.raises(UserError, match=sentence):
        open_dataset(root)


def test_of_several_cameras_one_must_be_named(root):
    table = pq.read_table(root / DATA)
    pq.write_table(table.append_column("wrist", pa.chunked_array([table[CAMERA].combine_chunks()[::-1]])), root / DATA)
    edit_json(root / INFO, lambda info: info["features"].update(wrist=info["features"][CAMERA]))
    with pytest.raises(UserError, match=f"has 2 cameras: {CAMERA}, wrist. Name the one to read"):
        open_dataset(root)
    with pytest.raises(UserError, match="No camera named 'writs'. Did you mean 'wrist'?"):
        open_dataset(root, "writs")
    front, wrist = open_dataset(root, CAMERA), open_dataset(root, "wrist")
    assert front.cameras == wrist.cameras == (CAMERA, "wrist") and (front.camera, wrist.camera) == front.cameras
    np.testing.assert_array_equal(wrist.frames(range(4)).image, front.frames(range(4)).image[::-1])


def test_a_dataset_without_cameras_is_refused(root):
    edit_json(root / INFO, lambda info: info["features"].pop(CAMERA))
    with pytest.raises(UserError, match="has 0 cameras. Demonstrations without pictures are not read"):
        open_dataset(root)


def test_one_episode_is_read_alone(root):
    dataset = open_dataset(root)
    assert isinstance(dataset, Dataset) and dataset.format == "LeRobot v3.0" and dataset.fps == 10
    assert (dataset.state_names, dataset.action_names) == (("tip", "grip"), ("x", "y", "gripper"))
    group = pq.read_metadata(root / DATA).row_group(2)
    columns = [group.column(index) for index in range(group.num_columns)]
    begin = min(column.data_page_offset for column in columns)
    size = sum(column.total_compressed_size for column in columns)
    content = bytearray((root / DATA).read_bytes())
    content[begin : begin + size] = bytes(size)
    (root / DATA).write_bytes(content)
    for index in (0, 1, 3):
        episode, vectors = dataset.episode(index), dataset.vectors(index)
        for name in ("image", "state", "action"):
            np.testing.assert_array_equal(getattr(episode, name), getattr(episodes()[index], name))
        np.testing.assert_array_equal(vectors.state, episode.state)
        np.testing.assert_array_equal(vectors.action, episode.action)
        assert episode.instruction == episodes()[index].instruction
    with pytest.raises(UserError, match="is not a whole parquet file|is damaged"):
        dataset.vectors(2)


def test_quantiles_that_lerobots_conversion_leaves_out_are_computed(root):
    whole = open_dataset(root).statistics

    def without_quantiles(statistics: dict) -> None:
        for record in statistics.values():
            for name in QUANTILES:
                del record[name]

    edit_json(root / STATISTICS, without_quantiles)
    found = open_dataset(root).statistics
    assert set(found) == {"observation.state", "action"}
    for feature, statistics in found.items():
        assert statistics.to_json() == whole[feature].to_json()


@pytest.mark.parametrize(
    ("names", "wanted"),
    [(None, ("0", "1")), ({"motors": ["a", "b"]}, ("a", "b")), ([["a", "b"]], ("a", "b")), (["a"], ("0", "1"))],
)
def test_names_of_dimensions_are_found_in_any_nesting(root, names, wanted):
    edit_json(root / INFO, lambda info: info["features"]["observation.state"].update(names=names))
    assert open_dataset(root).state_names == wanted


@pytest.mark.parametrize("value", ["nan", "-inf"])
@pytest.mark.parametrize("name", ["observation.state", "action"])
def test_a_value_that_is_not_finite_is_named_by_column_episode_and_frame(root, name, value):
    edit_column(root / DATA, name, lambda rows: rows[8].__setitem__(1, float(value)))
    dataset = open_dataset(root)
    assert len(dataset.frames([0, 3])) == 9, "the other episodes are sound"
    with pytest.raises(UserError, match=f"'{name}' is {value} in dimension 1 at episode 2, frame 2"):
        dataset.frames(range(4))


@pytest.mark.parametrize("cell", [None, [0.5, None, 0.5]])
def test_an_empty_cell_is_an_error(root, cell):
    edit_column(root / DATA, "action", lambda rows: rows.__setitem__(8, cell))
    with pytest.raises(UserError, match="Column 'action' of .* has a"):
        open_dataset(root).frames([2])


def test_too_few_rows_are_an_error(root):
    pq.write_table(pq.read_table(root / DATA).slice(0, 16), root / DATA)
    with pytest.raises(UserError, match="has 16 rows, but its episodes have 17 frames"):
        open_dataset(root)


def test_frames_that_are_not_those_of_the_episode_are_an_error(root):
    edit_column(root / DATA, "frame_index", lambda rows: rows.__setitem__(8, 3))
    with pytest.raises(UserError, match="Episode 2 should have frames 0 to 6"):
        open_dataset(root).frames([2])


def test_a_damaged_image_is_named(root):
    edit_column(root / DATA, CAMERA, lambda rows: rows[8].update(bytes=rows[8]["bytes"][:40]))
    with pytest.raises(UserError, match="image of episode 2, frame 2 of .* is damaged"):
        open_dataset(root).frames([2])


def test_statistics_that_lack_a_feature_are_an_error(root):
    edit_json(root / STATISTICS, lambda statistics: statistics.pop("action"))
    with pytest.raises(UserError, match="no statistics of 'action' for its 3 dimensions"):
        open_dataset(root)


@pytest.mark.parametrize("chosen", [[4], [-1], [0, 0], []])
def test_a_choice_of_episodes_that_cannot_be_is_an_error(root, chosen):
    with pytest.raises(UserError, match="It has 4: 0 to 3|at least one episode of .* each only once"):
        open_dataset(root).frames(chosen)
