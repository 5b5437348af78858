import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from rlds_files import (
    Value,
    example,
    image,
    members,
    picture,
    tensor,
    text,
    write_metadata,
    write_shards,
)

from workbench.data.rlds import open_rlds
from workbench.data.rlds_columns import Columns
from workbench.errors import UserError

LENGTHS = (3, 1, 4)
WORDS = ("put the carrot on the plate", "öffne die Schublade", "")
HEIGHT, WIDTH = 6, 8
STEPS = {
    "observation": members(
        {
            "depth_0": image(HEIGHT, WIDTH, channels=1),
            "image_1": image(HEIGHT, WIDTH),
            "image_0": image(HEIGHT, WIDTH),
            "state": tensor((7,)),
            "packed_away": tensor((7,), encoding="zlib"),
        }
    ),
    "action": tensor((7,)),
    "is_last": tensor((), "bool"),
    "language_instruction": text(),
}


def numbers(episode: int, steps: int, shift: float) -> np.ndarray:
    """Exact in float32."""
    return (np.arange(steps * 7).reshape(steps, 7) / 8 + episode * 16 + shift).astype(np.float32)


def pixels(episode: int, steps: int, camera: int) -> np.ndarray:
    random = np.random.default_rng([episode, camera])
    return random.integers(256, size=(steps, HEIGHT, WIDTH, 3), dtype=np.uint8)


def values(episode: int) -> dict[str, Value]:
    steps = LENGTHS[episode]
    return {
        "episode_metadata/file_path": [b"/somewhere"],
        "steps/observation/image_0": [picture(one) for one in pixels(episode, steps, 0)],
        "steps/observation/image_1": [picture(one) for one in pixels(episode, steps, 1)],
        "steps/observation/state": numbers(episode, steps, 0.5).ravel().tolist(),
        "steps/action": numbers(episode, steps, -0.25).ravel().tolist(),
        "steps/is_last": [*[0] * (steps - 1), 1],
        "steps/language_instruction": [WORDS[episode].encode()] * steps,
    }


def write(
    root: Path, edit: Callable[[dict[str, Value]], object] = lambda values: None, *, packed: bool = True
) -> list[Path]:
    """Three episodes in two files, the middle one edited."""
    write_metadata(root, "bridge_dataset", STEPS, {"train": (2, 1), "val": (1,)})
    episodes = [values(episode) for episode in range(3)]
    edit(episodes[1])
    records = [example(one, packed=packed) for one in episodes]
    write_shards(root, "bridge_dataset", "val", [[example(values(2))]])
    return write_shards(root, "bridge_dataset", "train", [records[:2], records[2:]])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "bridge_orig" / "1.0.0"
    write(root)
    return root


@pytest.mark.parametrize("packed", [True, False])
def test_episodes_of_several_files_come_back_bit_for_bit(tmp_path, packed):
    root = tmp_path / "bridge_orig" / "1.0.0"
    write(root, packed=packed)
    dataset = open_rlds(root)
    assert [(one.index, one.length, one.instruction) for one in dataset.episodes] == [
        (0, 3, WORDS[0]),
        (1, 1, WORDS[1]),
        (2, 4, WORDS[2]),
    ]
    for index, steps in enumerate(LENGTHS):
        episode, vectors = dataset.episode(index), dataset.vectors(index)
        np.testing.assert_array_equal(episode.image, pixels(index, steps, 0))
        for read in (episode, vectors):
            np.testing.assert_array_equal(read.state, numbers(index, steps, 0.5))
            np.testing.assert_array_equal(read.action, numbers(index, steps, -0.25))
        assert episode.instruction == WORDS[index]


def test_frames_come_in_the_order_of_the_choice(root):
    frames = open_rlds(root).frames([2, 0])
    np.testing.assert_array_equal(frames.episode, [2] * 4 + [0] * 3)
    np.testing.assert_array_equal(frames.image, np.concatenate([pixels(2, 4, 0), pixels(0, 3, 0)]))
    assert [frames.tasks[task] for task in frames.task_index] == [WORDS[2]] * 4 + [WORDS[0]] * 3


def test_a_known_dataset_has_its_camera_and_the_other_is_read_when_named(root):
    dataset, other = open_rlds(root), open_rlds(root, "image_1")
    assert (dataset.cameras, dataset.camera, dataset.fps) == (("image_1", "image_0"), "image_0", None)
    np.testing.assert_array_equal(other.episode(0).image, pixels(0, 3, 1))
    assert dataset.digest != other.digest
    with pytest.raises(UserError, match=r"No camera named 'image_2'.*Known: image_0, image_1"):
        open_rlds(root, "image_2")


def test_other_splits_are_read_by_name(root):
    assert [one.length for one in open_rlds(root, split="val").episodes] == [4]
    with pytest.raises(UserError, match="No split of .* named 'test'.* Known: train, val"):
        open_rlds(root, split="test")


def test_statistics_are_those_of_all_episodes(root):
    dataset = open_rlds(root)
    actions = np.concatenate([numbers(index, steps, -0.25) for index, steps in enumerate(LENGTHS)])
    np.testing.assert_allclose(dataset.statistics["action"].mean, actions.mean(axis=0))
    np.testing.assert_allclose(dataset.statistics["action"].q99, np.quantile(actions, 0.99, axis=0))
    assert dataset.statistics["observation.state"].count == 8


def test_the_digest_is_that_of_the_episodes_not_of_the_place(tmp_path):
    for folder in ("one/bridge_orig/1", "two/bridge_dataset/2"):
        write(tmp_path / folder)
    write(tmp_path / "three/bridge_orig/1", lambda values: values.update({"steps/is_last": [0]}))
    one, two, three = (
        open_rlds(tmp_path / folder).digest
        for folder in ("one/bridge_orig/1", "two/bridge_dataset/2", "three/bridge_orig/1")
    )
    assert one == two != three


FRACTAL = {
    "action": members(
        {
            "base_displacement_vector": tensor((2,)),
            "gripper_closedness_action": tensor((1,)),
            "rotation_delta": tensor((3,)),
            "terminate_episode": tensor((3,), "int32"),
            "world_vector": tensor((3,)),
        }
    ),
    "observation": members(
        {
            "base_pose_tool_reached": tensor((7,)),
            "gripper_closed": tensor((1,)),
            "image": image(HEIGHT, WIDTH),
            "natural_language_instruction": tensor((), "string"),
        }
    ),
}


def write_fractal(root: Path) -> None:
    write_metadata(root, "fractal20220817_data", FRACTAL, {"train": (1,)})
    floats = np.arange(2 * 20, dtype=np.float32) / 4
    made: dict[str, Value] = {
        "steps/action/world_vector": floats[:6].tolist(),
        "steps/action/rotation_delta": floats[6:12].tolist(),
        "steps/action/gripper_closedness_action": [1.0, -1.0],
        "steps/action/terminate_episode": [0, 1, 0, 1, 0, 0],
        "steps/observation/base_pose_tool_reached": floats[12:26].tolist(),
        "steps/observation/gripper_closed": [0.0, 1.0],
        "steps/observation/image": [picture(one, "JPEG") for one in pixels(0, 2, 0)],
        "steps/observation/natural_language_instruction": [b"pick coke can"] * 2,
    }
    write_shards(root, "fractal20220817_data", "train", [[example(made)]])


def test_a_nested_action_is_joined_in_the_order_of_the_table(tmp_path):
    root = tmp_path / "fractal20220817_data" / "0.1.0"
    write_fractal(root)
    dataset = open_rlds(root)
    assert dataset.action_names == (
        *(f"world_vector.{place}" for place in range(3)),
        *(f"rotation_delta.{place}" for place in range(3)),
        "gripper_closedness_action.0",
    )
    expected = [[0, 0.25, 0.5, 1.5, 1.75, 2, 1], [0.75, 1, 1.25, 2.25, 2.5, 2.75, -1]]
    np.testing.assert_array_equal(dataset.vectors(0).action, expected)
    np.testing.assert_array_equal(dataset.vectors(0).state[:, [0, 6, 7]], [[3, 4.5, 0], [4.75, 6.25, 1]])
    assert dataset.episode(0).instruction == "pick coke can"
    assert dataset.episode(0).image.shape == (2, HEIGHT, WIDTH, 3)


def test_columns_are_the_callers_to_choose_integers_among_them(tmp_path):
    root = tmp_path / "fractal20220817_data" / "0.1.0"
    write_fractal(root)
    told = "observation/natural_language_instruction"
    chosen = Columns(("action/terminate_episode",), ("observation/gripper_closed",), told)
    dataset = open_rlds(root, columns=chosen)
    np.testing.assert_array_equal(dataset.vectors(0).action, [[0, 1, 0], [1, 0, 0]])
    assert dataset.digest != open_rlds(root).digest
    misspelt = Columns(("action/world_vectr",), ("observation/gripper_closed",), told)
    with pytest.raises(UserError, match="No numbers for the action .*Did you mean 'action/world_vector'"):
        open_rlds(root, columns=misspelt)
    with pytest.raises(UserError, match="No text at each step .* named 'words'. Known: observation/natural"):
        open_rlds(root, columns=Columns(chosen.action, chosen.state, "words"))


def test_compressed_numbers_are_not_offered(root):
    with pytest.raises(UserError, match="Known: action, is_last, observation/state") as refused:
        open_rlds(root, columns=Columns(("action",), ("observation/packed_away",), "language_instruction"))
    assert "named 'observation/packed_away'" in str(refused.value)


def replaced(name: str, value: Value) -> Callable[[dict[str, Value]], object]:
    return lambda values: values.update({f"steps/{name}": value})


AT_OPENING: Mapping[str, tuple[Callable[[dict[str, Value]], object], str]] = {
    "no action": (lambda values: values.pop("steps/action"), "no whole episode: it has no feature 'steps/action'"),
    "no steps": (replaced("action", []), "it has no steps: 'steps/action' is empty"),
    "part of a row": (replaced("action", [0.5] * 8), "'steps/action' has 8 numbers, which are no rows of 7"),
    "other kind": (replaced("action", [1] * 7), "'steps/action' is not as features.json says: it holds integers"),
    "fewer states": (
        replaced("observation/state", [0.5] * 14),
        "'steps/observation/state' has 2 steps, the action has",
    ),
    "nan": (replaced("action", [0.5, 0.5, float("nan"), *[0.5] * 4]), r"is nan at frame 0, dimension 2 \(action.2\)"),
    "infinite": (replaced("observation/state", [float("inf"), *[0.5] * 6]), "is inf at frame 0, dimension 0"),
    "fewer words": (replaced("language_instruction", []), "'steps/language_instruction' is not as|has 0 steps"),
    "no text": (replaced("language_instruction", [b"\xff"]), "'steps/language_instruction' is not UTF-8"),
}


@pytest.mark.parametrize("fault", AT_OPENING)
def test_an_episode_that_is_none_is_told_at_opening_with_file_and_record(tmp_path, fault):
    edit, words = AT_OPENING[fault]
    paths = write(tmp_path / "bridge_orig" / "1.0.0", edit)
    with pytest.raises(UserError, match=words) as refused:
        open_rlds(tmp_path / "bridge_orig" / "1.0.0")
    assert f"ecord 1 of {paths[0]}" in str(refused.value)


def test_two_instructions_in_one_episode_are_refused(tmp_path):
    write_metadata(tmp_path / "a" / "1", "a", STEPS, {"train": (1,)})
    made = values(0) | {"steps/language_instruction": [b"one", b"one", b"two"]}
    write_shards(tmp_path / "a" / "1", "a", "train", [[example(made)]])
    with pytest.raises(UserError, match="has 2 different texts, where an episode has one"):
        open_rlds(tmp_path / "a" / "1")


AT_READING: Mapping[str, tuple[Callable[[dict[str, Value]], object], str]] = {
    "no pictures": (lambda values: values.pop("steps/observation/image_0"), "no feature 'steps/observation/image_0'"),
    "two pictures": (replaced("observation/image_0", [b"x", b"y"]), "'steps/observation/image_0' has 2 steps, the act"),
    "no picture": (replaced("observation/image_0", [b"not one"]), "image of step 0 of record 1 of .* is damaged"),
    "half a picture": (
        replaced("observation/image_0", [picture(pixels(1, 1, 0)[0])[:100]]),
        "image of step 0 of record 1 of .* is damaged",
    ),
}


@pytest.mark.parametrize("fault", AT_READING)
def test_pictures_that_are_none_are_told_when_the_episode_is_read(tmp_path, fault):
    edit, words = AT_READING[fault]
    paths = write(tmp_path / "bridge_orig" / "1.0.0", edit)
    dataset = open_rlds(tmp_path / "bridge_orig" / "1.0.0")
    assert len(dataset.vectors(1).action) == 1
    with pytest.raises(UserError, match=words) as refused:
        dataset.episode(1)
    assert f"ecord 1 of {paths[0]}" in str(refused.value)


def test_a_changed_pixel_is_told_by_the_checksum(root):
    path = root / "bridge_dataset-train.tfrecord-00001-of-00002"
    whole = path.read_bytes()
    middle = whole.index(picture(pixels(2, 4, 0)[1])) + 60
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    dataset = open_rlds(root)
    dataset.episode(1)
    for read in (dataset.episode, dataset.vectors):
        with pytest.raises(UserError, match=f"^Record 0 of {path} is damaged: its data do not fit their checksum"):
            read(2)


def test_a_missing_file_is_named(root):
    (root / "bridge_dataset-train.tfrecord-00001-of-00002").unlink()
    with pytest.raises(UserError, match="lacks bridge_dataset-train.tfrecord-00001-of-00002. Download what is"):
        open_rlds(root)


def test_a_file_that_ends_between_two_records_is_told_by_their_number(root):
    path = root / "bridge_dataset-train.tfrecord-00000-of-00002"
    whole = path.read_bytes()
    path.write_bytes(whole[: 16 + struct.unpack("<Q", whole[:8])[0]])
    with pytest.raises(UserError, match=f"{path} has 1 records, but dataset_info.json says 2"):
        open_rlds(root)


def test_files_of_two_downloads_are_not_mixed(root):
    (root / "bridge_dataset-train.tfrecord-00000-of-00003").touch()
    with pytest.raises(UserError, match="one set of files .*; found: bridge_dataset-train of 00002, .* of 00003"):
        open_rlds(root)


def edit_json(path: Path, edit: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda info: info.update(fileFormat="array_record"), "format 'array_record'; tfrecord is what is read"),
        (lambda info: info.pop("splits"), "is not as TensorFlow Datasets writes it: splits: Field required"),
        (
            lambda info: info["splits"][0].update(shardLengths=["3"]),
            "has 1 shards of 'train', but the files say of-00002",
        ),
    ],
)
def test_metadata_that_do_not_fit_are_told(root, edit, words):
    edit_json(root / "dataset_info.json", edit)
    with pytest.raises(UserError, match=words):
        open_rlds(root)


def test_a_dataset_without_steps_is_no_rlds(root):
    edit_json(root / "features.json", lambda content: content["featuresDict"]["features"].pop("steps"))
    with pytest.raises(UserError, match="lists no sequence 'steps'"):
        open_rlds(root)


def test_the_folder_above_and_a_folder_without_data_say_what_is_meant(root, tmp_path):
    with pytest.raises(UserError, match=f"Did you mean {root}?"):
        open_rlds(root.parent)
    with pytest.raises(UserError, match="dataset_info.json is missing; an RLDS dataset is a folder"):
        open_rlds(tmp_path / "nowhere")


@pytest.mark.slow
def test_no_truncation_and_no_flipped_bit_gives_a_wrong_episode(tmp_path):
    root = tmp_path / "bridge_orig" / "1.0.0"
    path = write(root)[0]
    whole, random = path.read_bytes(), np.random.default_rng(0)
    right = [open_rlds(root).episode(index) for index in range(3)]
    refused = 0
    for attempt in range(200):
        place = int(random.integers(len(whole)))
        flipped = whole[:place] + bytes([whole[place] ^ 1 << int(random.integers(8))]) + whole[place + 1 :]
        path.write_bytes(whole[:place] if attempt % 2 else flipped)
        seen = 0
        try:
            dataset = open_rlds(root)
        except UserError:
            refused += 1
            continue
        for index in range(3):
            try:
                episode = dataset.episode(index)
            except UserError:
                continue
            seen += 1
            assert episode.instruction == right[index].instruction
            for part in ("image", "state", "action"):
                np.testing.assert_array_equal(getattr(episode, part), getattr(right[index], part))
        assert seen == 2
    assert 100 <= refused < 200
