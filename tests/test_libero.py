import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from workbench.data.libero import ACTION_NAMES, STATE_NAMES, open_libero, task_of
from workbench.data.statistics import Statistics
from workbench.errors import UserError

LENGTHS = {"demo_0": 4, "demo_2": 1, "demo_10": 5}
FILE = "KITCHEN_SCENE10_close_the_top_drawer_demo.hdf5"


def arrays(name: str, side: int = 6) -> dict[str, np.ndarray]:
    """What LIBERO stores of a demonstration, out of noise that the name seeds."""
    generator, steps = np.random.default_rng(int(name[5:])), LENGTHS[name]
    return {
        "actions": generator.uniform(-1, 1, (steps, 7)),
        "obs/agentview_rgb": generator.integers(0, 256, (steps, side, 8, 3), dtype=np.uint8),
        "obs/eye_in_hand_rgb": generator.integers(0, 256, (steps, side, 8, 3), dtype=np.uint8),
        "obs/ee_pos": generator.normal(size=(steps, 3)),
        "obs/ee_ori": generator.normal(size=(steps, 3)),
        "obs/gripper_states": generator.normal(size=(steps, 2)),
        "obs/joint_states": generator.normal(size=(steps, 7)),
    }


def state(name: str) -> np.ndarray:
    stored = arrays(name)
    columns = [stored["obs/ee_pos"], stored["obs/ee_ori"], stored["obs/gripper_states"]]
    return np.concatenate(columns, axis=1).astype(np.float32)


def write(path: Path, *, instruction: object = "Close the top layer", side: int = 6, **attributes: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["problem_info"] = json.dumps({"problem_name": "kitchen", "language_instruction": instruction})
        data.attrs["env_args"] = json.dumps({"type": 1, "env_kwargs": {"control_freq": 20}})
        data.attrs["macros_image_convention"] = "opengl"
        data.attrs.update(attributes)
        for name in LENGTHS:
            for key, values in arrays(name, side).items():
                chunks = (1, *values.shape[1:]) if key.endswith("_rgb") else None
                data.create_dataset(f"{name}/{key}", data=values, chunks=chunks, fletcher32=chunks is not None or None)
            data[name].attrs["num_samples"] = LENGTHS[name]
    return path


def edit(path: Path, key: str, values: np.ndarray) -> None:
    with h5py.File(path, "a") as file:
        del file[key]
        file[key] = values


def spoil(path: Path, key: str, frame: int) -> None:
    """Another byte in the middle of one stored picture; its checksum does not fit any more."""
    with h5py.File(path) as file:
        found = file[key]
        assert isinstance(found, h5py.Dataset)
        chunk = found.id.get_chunk_info(frame)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 255
    path.write_bytes(content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / FILE)


def test_episodes_come_by_number_with_pictures_turned_and_numbers_as_stored(path):
    dataset = open_libero(path)
    assert [(e.index, e.length) for e in dataset.episodes] == [(0, 4), (1, 1), (2, 5)]
    assert dataset.state_names == STATE_NAMES and dataset.action_names == ACTION_NAMES and len(STATE_NAMES) == 8
    assert (dataset.cameras, dataset.camera, dataset.fps) == (("agentview_rgb", "eye_in_hand_rgb"), "agentview_rgb", 20)
    for index, name in enumerate(LENGTHS):
        episode, stored = dataset.episode(index), arrays(name)
        np.testing.assert_array_equal(episode.image, np.rot90(stored["obs/agentview_rgb"], 2, axes=(1, 2)))
        np.testing.assert_array_equal(episode.state, state(name))
        np.testing.assert_array_equal(episode.action, stored["actions"].astype(np.float32))
        np.testing.assert_array_equal(dataset.vectors(index).action, episode.action)


def test_the_other_camera_is_turned_too_and_an_unknown_one_is_told(path):
    image = open_libero(path, "eye_in_hand_rgb").episode(0).image
    np.testing.assert_array_equal(image, arrays("demo_0")["obs/eye_in_hand_rgb"][:, ::-1, ::-1])
    with pytest.raises(UserError, match="No camera named 'agentview'. Did you mean 'agentview_rgb'"):
        open_libero(path, "agentview")


def test_frames_of_chosen_episodes_come_in_the_order_of_the_choice(path):
    frames = open_libero(path).frames([2, 0])
    np.testing.assert_array_equal(frames.state, np.concatenate([state("demo_10"), state("demo_0")]))
    np.testing.assert_array_equal(frames.episode, [2] * 5 + [0] * 4)


def test_the_instruction_is_the_one_that_the_benchmark_gives_at_evaluation(path, tmp_path):
    assert open_libero(path).episodes[0].instruction == "close the top drawer"
    other = write(tmp_path / "mine.hdf5", instruction='"Close the top layer"')
    assert open_libero(other).episodes[0].instruction == "Close the top layer"
    listed = write(tmp_path / "listed.hdf5", instruction=["Close", "it"])
    assert open_libero(listed).episodes[0].instruction == "Close it"
    with pytest.raises(UserError, match=r"silent.hdf5 says no instruction"):
        open_libero(write(tmp_path / "silent.hdf5", instruction=""))


def test_names_lose_their_scene_and_nothing_else():
    told = {
        "LIVING_ROOM_SCENE2_put_both_in_the_basket_demo.hdf5": "put both in the basket",
        "pick_up_the_black_bowl_demo.hdf5": "pick up the black bowl",
        "STUDY_SCENE1_pick_up_the_book_demo.hdf5": "pick up the book",
        "episodes.hdf5": None,
    }
    assert {name: task_of(Path(name)) for name in told} == told


def test_a_suite_is_a_folder_of_files_read_in_the_order_of_their_names(tmp_path):
    for name in ("open_it_demo.hdf5", "close_it_demo.hdf5"):
        write(tmp_path / "suite" / name)
    (tmp_path / "suite" / "readme.txt").write_text("no HDF5 here")
    dataset = open_libero(tmp_path / "suite")
    assert [e.instruction for e in dataset.episodes] == ["close it"] * 3 + ["open it"] * 3
    assert dataset.frames([5, 0]).tasks == ("close it", "open it")
    assert dataset.statistics["action"].count == 20


def test_statistics_are_those_of_all_vectors(path):
    statistics = open_libero(path).statistics
    exact = Statistics.from_values(np.concatenate([state(name) for name in LENGTHS]))
    assert statistics["observation.state"].to_json() == exact.to_json()
    actions = np.concatenate([arrays(name)["actions"] for name in LENGTHS])
    np.testing.assert_allclose(statistics["action"].mean, actions.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(statistics["action"].q99, np.quantile(actions, 0.99, axis=0), atol=1e-6)


def test_only_the_asked_episode_is_read_and_a_damaged_frame_is_named(path):
    spoil(path, "data/demo_10/obs/agentview_rgb", 3)
    dataset = open_libero(path)
    assert len(dataset.episode(0).image) == 4
    assert len(dataset.vectors(2).action) == 5
    with pytest.raises(UserError, match=r"Frame 3 of 'agentview_rgb' in demo_10 of .*_demo.hdf5 is damaged"):
        dataset.episode(2)


def test_no_file_stays_open(path):
    dataset = open_libero(path)
    dataset.episode(0)
    with h5py.File(path, "a") as file:
        file["data/demo_0/actions"][0, 0] = 0.125
    assert dataset.vectors(0).action[0, 0] == 0.125


def test_the_digest_knows_the_content_and_not_the_place(path, tmp_path):
    digest = open_libero(path).digest
    assert open_libero(write(tmp_path / "elsewhere" / FILE)).digest == digest
    assert open_libero(path, "eye_in_hand_rgb").digest != digest
    last = arrays("demo_10")["obs/agentview_rgb"]
    last[4, 0, 0, 0] ^= 1
    edit(path, "data/demo_10/obs/agentview_rgb", last)
    assert open_libero(path).digest != digest
    write(path)
    edit(path, "data/demo_2/actions", arrays("demo_2")["actions"] + 1e-3)
    assert open_libero(path).digest != digest


@pytest.mark.parametrize(
    ("key", "values", "told"),
    [
        ("data/demo_2/actions", np.full((1, 7), np.nan), r"action of episode 1 \(demo_2 of .*\) .* is nan at frame 0"),
        ("data/demo_0/obs/ee_pos", np.full((4, 3), 1e39), r"state of episode 0 .* 1e\+39 at frame 0, dimension 0"),
        ("data/demo_0/obs/ee_pos", np.zeros((3, 3)), r"'obs/ee_pos' in demo_0 of .* is float64 \[3, 3\]"),
        ("data/demo_0/obs/ee_pos", np.zeros((4, 2)), r"state of episode 0 .* is float64 \[4, 7\]"),
        ("data/demo_10/actions", np.zeros((4, 7)), r"demo_10 of .* has 4 actions; its attribute num_samples says 5"),
        ("data/demo_0/obs/agentview_rgb", np.zeros((4, 6, 8, 3)), r"'agentview_rgb' in demo_0 .* is float64"),
        ("data/demo_10/obs/agentview_rgb", np.zeros((5, 6, 9, 3), np.uint8), r"Frame 0 of episode 2 .* is 9 x 6"),
        ("data/demo_0/obs", np.zeros(1), r"has no group 'data/demo_0/obs'"),
        ("data", np.zeros(1), r"has no group 'data'"),
    ],
)
def test_what_is_damaged_is_told_with_file_and_episode(path, key, values, told):
    edit(path, key, values)
    with pytest.raises(UserError, match=told):
        open_libero(path)


def test_a_missing_column_lists_what_there_is(path):
    with h5py.File(path, "a") as file:
        del file["data/demo_2/obs/ee_ori"]
    with pytest.raises(UserError, match=r"has no 'data/demo_2/obs/ee_ori'. There is: agentview_rgb, .*joint_states"):
        open_libero(path)


def test_pictures_of_another_convention_are_not_turned_but_refused(tmp_path):
    with pytest.raises(UserError, match="rendered by the convention 'opencv'"):
        open_libero(write(tmp_path / "it_demo.hdf5", macros_image_convention="opencv"))


def test_a_torn_file_an_empty_folder_and_no_file_are_told(path, tmp_path):
    (tmp_path / "torn_demo.hdf5").write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="torn_demo.hdf5 is no whole HDF5 file"):
        open_libero(tmp_path / "torn_demo.hdf5")
    for nothing in (tmp_path / "nothing", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="There is no HDF5 file"):
            open_libero(nothing)


def test_without_h5py_one_sentence_says_how_to_get_it(path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UserError, match=r"pip install 'vla-workbench\[hdf5\]'"):
        open_libero(path)


def test_an_episode_that_there_is_not_is_told(path):
    with pytest.raises(UserError, match="There is no episode 3"):
        open_libero(path).vectors(3)
