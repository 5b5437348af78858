from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.data.episodes_folder import open_folder
from workbench.data.statistics import Statistics
from workbench.errors import UserError

LENGTHS = {"episode_0": 3, "episode_2": 12, "episode_010": 1}
NAMES = ("x", "y", "gripper")


def arrays(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures, state and actions, of noise that the name seeds."""
    generator, steps = np.random.default_rng(int(name[8:])), LENGTHS[name]
    pictures = generator.integers(0, 256, (steps, 4, 6, 3), dtype=np.uint8)
    return pictures, generator.normal(size=(steps, 2)).astype("f4"), generator.normal(size=(steps, 3)).astype("f4")


def write(root: Path, *, stateless: bool = False) -> Path:
    for name in LENGTHS:
        folder = root / name
        (folder / "frames").mkdir(parents=True)
        pictures, state, action = arrays(name)
        for frame, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / "frames" / f"camera1_{frame}.png")
        np.save(folder / "actions.npy", action)
        if not stateless:
            np.save(folder / "state.npy", state)
        (folder / "instruction.txt").write_text(f"  push the {name}\n")
    return root


def as_csv(path: Path, values: np.ndarray, header: str = "") -> None:
    lines = [",".join(str(value) for value in row) for row in values]
    path.write_text("\n".join(([header] if header else []) + lines) + "\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "lab")


def test_episodes_and_frames_come_by_their_numbers(root):
    (root / "notes").mkdir()
    (root / "episode_2" / "frames" / "notes.txt").write_text("no picture")
    dataset = open_folder(root)
    assert [(e.length, e.instruction) for e in dataset.episodes] == [
        (3, "push the episode_0"),
        (12, "push the episode_2"),
        (1, "push the episode_010"),
    ]
    assert (dataset.cameras, dataset.camera, dataset.fps) == (("frames",), "frames", None)
    for index, name in enumerate(LENGTHS):
        episode, (pictures, state, action) = dataset.episode(index), arrays(name)
        np.testing.assert_array_equal(episode.image, pictures)
        np.testing.assert_array_equal(episode.state, state)
        np.testing.assert_array_equal(episode.action, action)
    assert dataset.action_names == ("actions.0", "actions.1", "actions.2")


def test_tables_may_be_text_with_a_line_of_names(root):
    for name in LENGTHS:
        (root / name / "actions.npy").unlink()
        as_csv(root / name / "actions.csv", arrays(name)[2], "x, y, gripper")
    dataset = open_folder(root)
    assert dataset.action_names == NAMES
    np.testing.assert_array_equal(dataset.vectors(1).action, arrays("episode_2")[2])
    for name in LENGTHS:
        as_csv(root / name / "actions.csv", arrays(name)[2], "x,y,finger")
    assert open_folder(root).digest != dataset.digest


def test_a_table_without_names_loses_no_row(root):
    (root / "episode_0" / "actions.npy").unlink()
    as_csv(root / "episode_0" / "actions.csv", arrays("episode_0")[2])
    np.testing.assert_array_equal(open_folder(root).vectors(0).action, arrays("episode_0")[2])


def test_without_a_state_there_is_one_dimension_that_never_moves(tmp_path):
    dataset = open_folder(write(tmp_path / "lab", stateless=True))
    assert dataset.state_names == ("nothing",)
    np.testing.assert_array_equal(dataset.episode(1).state, np.zeros((12, 1)))
    np.save(tmp_path / "lab" / "episode_2" / "state.npy", np.ones((12, 1)))
    with pytest.raises(UserError, match="episode_2 has a state, unlike the first episode"):
        open_folder(tmp_path / "lab")


def test_pictures_may_be_jpeg_and_grey(root):
    frames = root / "episode_010" / "frames"
    (frames / "camera1_0.png").unlink()
    Image.fromarray(np.full((4, 6), 90, np.uint8)).save(frames / "1.JPG")
    image = open_folder(root).episode(2).image
    assert image.shape == (1, 4, 6, 3) and abs(image.astype(int) - 90).max() <= 2


def test_statistics_are_numpys_and_the_digest_knows_the_content(root, tmp_path):
    dataset = open_folder(root)
    exact = Statistics.from_values(np.concatenate([arrays(name)[1] for name in LENGTHS]))
    assert dataset.statistics["observation.state"].to_json() == exact.to_json()
    assert open_folder(write(tmp_path / "copy")).digest == dataset.digest
    (root / "episode_2" / "instruction.txt").write_text("pull it")
    assert open_folder(root).digest != dataset.digest


def test_only_the_asked_episode_is_read_and_a_damaged_frame_is_named(root):
    (root / "episode_2" / "frames" / "camera1_5.png").write_bytes(b"\x89PNG\r\n")
    dataset = open_folder(root)
    assert len(dataset.episode(0).image) == 3
    assert len(dataset.vectors(1).action) == 12
    with pytest.raises(UserError, match="camera1_5.png is damaged, or no picture"):
        dataset.episode(1)


def test_a_picture_of_another_size_is_named(root):
    Image.new("RGB", (7, 4)).save(root / "episode_2" / "frames" / "camera1_5.png")
    with pytest.raises(UserError, match=r"Frame 5 of episode 1 \(episode_2\) of .* is 7 x 4 pixels; .* 6 x 4"):
        open_folder(root).episode(1)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("actions.csv", "1,2,3\n", "has both actions.npy and actions.csv"),
        ("state.npy", "no array", "state.npy is no whole file of numpy's"),
        ("instruction.txt", " \n", "instruction.txt is empty"),
        ("frames/five.png", "", "five.png has no number in its name"),
        ("frames/5.png", "", "5.png and .*camera1_5.png have the same number"),
        ("frames/12.png", "", r"The state of episode 1 \(episode_2\) .* is float32 \[12, 2\]; numbers \[13, 2\]"),
    ],
)
def test_what_is_wrong_is_told_with_its_file(root, file, content, told):
    (root / "episode_2" / file).write_text(content)
    with pytest.raises(UserError, match=told):
        open_folder(root)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x,y,z\n1,2,3\n4,5\n", r"Line 3 of .*actions.csv is '4,5'; 3 numbers are needed"),
        ("1,2,3\n4,oops,6\n", r"Line 2 of .*actions.csv is '4,oops,6'"),
        ("x,y,z\n", "actions.csv has no row of numbers"),
        ("", "actions.csv has no row of numbers"),
        ("1,2,3\n4,nan,6\n7,8,9\n", r"episode 0 \(episode_0\) of .* is nan at frame 1, dimension 1 \(actions.1\)"),
    ],
)
def test_damaged_text_tables_are_told_with_their_line(root, text, told):
    (root / "episode_0" / "actions.npy").unlink()
    (root / "episode_0" / "actions.csv").write_text(text)
    with pytest.raises(UserError, match=told):
        open_folder(root)


def test_tables_of_one_name_have_the_same_columns(root):
    np.save(root / "episode_2" / "actions.npy", np.zeros((12, 4)))
    with pytest.raises(UserError, match=r"actions of .*episode_2 has 4 columns .* first episode's has 3"):
        open_folder(root)


def test_a_pickle_for_a_table_is_not_loaded(root):
    np.save(root / "episode_2" / "actions.npy", np.array([None] * 12))
    with pytest.raises(UserError, match="actions.npy is no whole file of numpy's without pickles"):
        open_folder(root)


def test_missing_actions_pictures_and_episodes_are_told(root, tmp_path):
    (root / "episode_2" / "actions.npy").unlink()
    with pytest.raises(UserError, match="episode_2 has neither actions.npy nor actions.csv"):
        open_folder(root)
    (root / "episode_010" / "frames" / "camera1_0.png").unlink()
    with pytest.raises(UserError, match="episode_010/frames has no picture"):
        open_folder(root)
    with pytest.raises(UserError, match="has no folder episode_0"):
        open_folder(tmp_path)
