import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from workbench.data.robomimic import open_robomimic
from workbench.errors import UserError

LENGTHS = {"demo_0": 3, "demo_1": 2, "demo_11": 4}
WIDTHS = {"eef_pos": 3, "eef_quat": 4, "gripper_qpos": 2}


def arrays(name: str, robots: int = 1) -> dict[str, np.ndarray]:
    generator, steps = np.random.default_rng(int(name[5:])), LENGTHS[name]
    vectors = {
        f"obs/robot{robot}_{part}": generator.normal(size=(steps, width))
        for robot in range(robots)
        for part, width in WIDTHS.items()
    }
    return vectors | {
        "actions": generator.uniform(-1, 1, (steps, 7 * robots)),
        "obs/agentview_image": generator.integers(0, 256, (steps, 5, 5, 3), dtype=np.uint8),
        "obs/robot0_eye_in_hand_image": generator.integers(0, 256, (steps, 5, 5, 3), dtype=np.uint8),
        "obs/object": generator.normal(size=(steps, 10)),
    }


def write(path: Path, *, robots: int = 1, without: str = "-") -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        settings = {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}}
        data.attrs["env_args"] = json.dumps(settings)
        for name in LENGTHS:
            for key, values in arrays(name, robots).items():
                if without not in key:
                    data.create_dataset(f"{name}/{key}", data=values, compression="gzip")
            data[name].attrs["num_samples"] = LENGTHS[name]
        file["mask/train"] = np.array(["demo_11", "demo_0"], dtype="S")
        file["mask/valid"] = np.array(["demo_1"], dtype="S")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "image.hdf5")


def test_episodes_come_by_number_with_everything_as_stored(path):
    dataset = open_robomimic(path)
    assert [(e.length, e.instruction) for e in dataset.episodes] == [(3, "Lift"), (2, "Lift"), (4, "Lift")]
    assert dataset.cameras == ("agentview_image", "robot0_eye_in_hand_image") and dataset.camera == "agentview_image"
    assert dataset.fps == 20
    assert dataset.state_names[2:4] == ("robot0_eef_pos.2", "robot0_eef_quat.0") and len(dataset.state_names) == 9
    for index, name in enumerate(LENGTHS):
        episode, stored = dataset.episode(index), arrays(name)
        columns = [stored[f"obs/robot0_{part}"] for part in WIDTHS]
        np.testing.assert_array_equal(episode.image, stored["obs/agentview_image"])
        np.testing.assert_array_equal(episode.state, np.concatenate(columns, axis=1).astype(np.float32))
        np.testing.assert_array_equal(episode.action, stored["actions"].astype(np.float32))


def test_filter_keys_are_episodes(path):
    assert open_robomimic(path).masks == {"train": (0, 2), "valid": (1,)}


def test_a_filter_key_with_a_stranger_is_told(path):
    with h5py.File(path, "a") as file:
        file["mask/few"] = np.array(["demo_7"], dtype="S")
    with pytest.raises(UserError, match=r"mask/few of .* lists demo_7"):
        open_robomimic(path)


def test_a_file_without_filter_keys_has_none(path):
    with h5py.File(path, "a") as file:
        del file["mask"]
    assert open_robomimic(path).masks == {}


def test_of_two_arms_both_make_the_state(tmp_path):
    dataset = open_robomimic(write(tmp_path / "transport.hdf5", robots=2))
    assert len(dataset.state_names) == 18 and dataset.state_names[9] == "robot1_eef_pos.0"
    assert len(dataset.action_names) == 14


def test_statistics_are_numpys(path):
    statistics = open_robomimic(path).statistics["action"]
    actions = np.concatenate([arrays(name)["actions"] for name in LENGTHS])
    np.testing.assert_allclose(statistics.std, actions.std(axis=0), atol=1e-6)
    np.testing.assert_allclose(statistics.q01, np.quantile(actions, 0.01, axis=0), atol=1e-6)
    assert statistics.count == 9


def test_the_digest_knows_the_camera_even_where_two_see_the_same(path):
    with h5py.File(path, "a") as file:
        for name in LENGTHS:
            file[f"data/{name}/obs/robot0_eye_in_hand_image"][...] = arrays(name)["obs/agentview_image"]
    digests = [open_robomimic(path, camera).digest for camera in open_robomimic(path).cameras]
    assert digests[0] != digests[1]


def test_only_the_asked_episode_is_read(path):
    dataset = open_robomimic(path)
    with h5py.File(path, "a") as file:
        del file["data/demo_1"]
    assert len(dataset.episode(2).image) == 4
    with pytest.raises(UserError, match=r"image.hdf5 has no 'data/demo_1"):
        dataset.episode(1)


def test_a_file_without_pictures_says_how_to_get_them(tmp_path):
    with pytest.raises(UserError, match="has no pictures; observed are object, .*dataset_states_to_obs.py"):
        open_robomimic(write(tmp_path / "low_dim.hdf5", without="_image"))


def test_a_missing_state_is_told(tmp_path):
    with pytest.raises(UserError, match="lacks the observation robot0_eef_quat"):
        open_robomimic(write(tmp_path / "some.hdf5", without="eef_quat"))


def test_an_action_that_is_not_finite_is_named(path):
    with h5py.File(path, "a") as file:
        file["data/demo_11/actions"][2, 5] = np.inf
    with pytest.raises(UserError, match=r"episode 2 \(demo_11\) of .* is inf at frame 2, dimension 5 \(action.5\)"):
        open_robomimic(path)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("{", "env_args of .* is not JSON"),
        ("[]", "env_args of .* is a list, not an object"),
        ('{"type": 1}', "has no env_name"),
    ],
)
def test_attributes_that_say_nothing_are_told(path, value, told):
    with h5py.File(path, "a") as file:
        file["data"].attrs["env_args"] = value
    with pytest.raises(UserError, match=told):
        open_robomimic(path)
