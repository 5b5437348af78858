import shutil
from pathlib import Path

import pytest
import test_calvin
import test_episodes_folder
import test_libero
import test_robomimic
from demonstrations import CAMERA, episodes, write

from workbench.data.formats import FORMATS, open_any
from workbench.errors import UserError


@pytest.fixture
def shelf(tmp_path: Path) -> dict[str, Path]:
    """A data set of each format but RLDS, by the name that it gives itself."""
    test_libero.write(tmp_path / "libero_goal" / "open_it_demo.hdf5")
    test_calvin.write(tmp_path / "task_D_D" / "training")
    return {
        "LeRobot v3.0": write(tmp_path / "lerobot", episodes()),
        "LIBERO HDF5": tmp_path / "libero_goal",
        "robomimic HDF5": test_robomimic.write(tmp_path / "image.hdf5"),
        "CALVIN": tmp_path / "task_D_D",
        "folder of episodes": test_episodes_folder.write(tmp_path / "lab"),
    }


def test_every_format_is_recognised_by_what_lies_there(shelf):
    for name, path in shelf.items():
        dataset = open_any(path)
        assert dataset.format == name
        facts = dataset.episodes[0]
        assert len(dataset.episode(0).image) == facts.length
        assert dataset.vectors(0).state.shape == (facts.length, len(dataset.state_names))


def test_a_file_of_libero_and_a_split_of_calvin_are_recognised_by_themselves(shelf):
    assert open_any(shelf["LIBERO HDF5"] / "open_it_demo.hdf5").format == "LIBERO HDF5"
    assert open_any(shelf["CALVIN"] / "training").format == "CALVIN"


def test_the_camera_is_handed_on(shelf):
    assert open_any(shelf["CALVIN"], "rgb_gripper").camera == "rgb_gripper"
    assert open_any(shelf["LIBERO HDF5"], "eye_in_hand_rgb").camera == "eye_in_hand_rgb"
    assert open_any(shelf["LeRobot v3.0"], CAMERA).camera == CAMERA


def test_rlds_goes_to_its_own_reader(tmp_path):
    (tmp_path / "features.json").write_text("{")
    (tmp_path / "x-train.tfrecord-00000-of-00001").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        open_any(tmp_path)
    assert "known format" not in str(caught.value)


def test_what_is_unknown_is_listed_beside_what_is_known(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text('{"robot": "panda"}')
    for number in range(9):
        (tmp_path / f"recording_{number}.bag").write_text("")
    with pytest.raises(UserError) as caught:
        open_any(tmp_path)
    assert "Found: meta/, recording_0.bag, recording_1.bag" in str(caught.value)
    assert "recording_6.bag and 2 more" in str(caught.value)
    for row in FORMATS:
        assert f"{row.name}: {row.lies}" in str(caught.value)


def test_a_file_an_empty_folder_and_nothing_are_told(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="Found: a file notes.txt"):
        open_any(tmp_path / "notes.txt")
    with pytest.raises(UserError, match="Found: an empty folder"):
        open_any(tmp_path / "empty")
    with pytest.raises(UserError, match="There is nothing at"):
        open_any(tmp_path / "nothing")


def test_two_formats_in_one_place_are_not_guessed_between(shelf):
    shutil.copytree(shelf["folder of episodes"], shelf["CALVIN"], dirs_exist_ok=True)
    with pytest.raises(UserError, match="looks like CALVIN and a folder of episodes at once"):
        open_any(shelf["CALVIN"])


def test_a_damaged_file_is_told_by_its_own_reader(shelf, tmp_path):
    (tmp_path / "torn.hdf5").write_bytes(b"torn")
    with pytest.raises(UserError, match="torn.hdf5 is no whole HDF5 file"):
        open_any(tmp_path / "torn.hdf5")
    (shelf["LeRobot v3.0"] / "meta" / "info.json").write_text("{")
    with pytest.raises(UserError, match=r"info.json is not JSON"):
        open_any(shelf["LeRobot v3.0"])
