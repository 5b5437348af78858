"""LIBERO's rules, its package's files, and scene files that are missing or something else. No simulator is started."""

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from libero_scenes import write_scenes

from workbench.benchmarks.contract import Protocol
from workbench.benchmarks.libero import tasks
from workbench.benchmarks.libero.env import LiberoEnv
from workbench.benchmarks.libero.files import ASSETS, FOLDERS, find_assets
from workbench.benchmarks.libero.scene import scenes
from workbench.benchmarks.rules import benchmarks, rules_of
from workbench.errors import UserError

SUITES = ("libero-spatial", "libero-object", "libero-goal", "libero-10", "libero-90")
SOUP = "pick_up_the_alphabet_soup_and_place_it_in_the_basket"


# --- the rules


def test_the_five_suites_have_ten_or_ninety_tasks_of_fifty_states_and_the_fields_horizons():
    horizons = {name: set(rules_of(name).horizons.values()) for name in SUITES}
    assert horizons == {
        "libero-spatial": {220},
        "libero-object": {280},
        "libero-goal": {300},
        "libero-10": {520},
        "libero-90": {400},
    }
    assert [len(rules_of(name).tasks) for name in SUITES] == [10, 10, 10, 10, 90]
    assert {rules_of(name).initial_states for name in SUITES} == {50}
    assert len(Protocol.model_validate({"benchmark": "libero-10"}).manifest()) == 500
    assert set(SUITES) <= set(benchmarks())


def test_a_fifty_first_initial_state_is_refused():
    with pytest.raises(ValueError, match="libero-goal has 50 for each task"):
        Protocol.model_validate({"benchmark": "libero-goal", "initial_states": 51})


def test_an_instruction_is_the_tasks_name_without_its_scene():
    assert tasks.instruction("KITCHEN_SCENE10_close_the_top_drawer") == "close the top drawer"
    assert tasks.instruction(SOUP) == "pick up the alphabet soup and place it in the basket"


# --- scene files that are missing, or are something else


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("nothing", "which does not exist"),
        ("a file", "which is a file, not a folder"),
        ("an empty folder", f"but that has no {', '.join(FOLDERS)}"),
        ("half of it", "but that has no stable_hope_objects"),
    ],
)
def test_wrong_scene_files_are_named_with_what_to_download(
    made: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = tmp_path / "assets"
    match made:
        case "a file":
            place.write_text("")
        case "an empty folder":
            place.mkdir()
        case "half of it":
            for name in set(FOLDERS) - {"stable_hope_objects"}:
                (place / name).mkdir(parents=True)
    monkeypatch.setenv(ASSETS, str(place))
    with pytest.raises(UserError) as caught:
        find_assets()
    assert f"{ASSETS} names {place}" in str(caught.value) and told in str(caught.value)
    assert "hf download lerobot/libero-assets" in str(caught.value)


@pytest.mark.parametrize("inside", ["assets", "libero/libero/assets"])
def test_the_folder_above_the_scene_files_is_told_the_right_one(
    inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in FOLDERS:
        (tmp_path / inside / name).mkdir(parents=True)
    monkeypatch.setenv(ASSETS, str(tmp_path))
    with pytest.raises(UserError, match=f"Did you mean {tmp_path / inside}?"):
        find_assets()
    monkeypatch.setenv(ASSETS, str(tmp_path / inside))
    assert find_assets() == tmp_path / inside


def test_where_nothing_is_set_the_sentence_says_what_to_download_and_which_variable_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(ASSETS, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=f"{ASSETS} is not set. Download them with `hf download .*set {ASSETS}=FOLDER"):
        LiberoEnv(Protocol.model_validate({"benchmark": "libero-object"}), 1)
    for name in FOLDERS:  # where hf-libero's own download would have put them
        (tmp_path / ".cache" / "libero" / "assets" / name).mkdir(parents=True)
    assert find_assets() == tmp_path / ".cache" / "libero" / "assets"


def test_a_missing_package_is_said_with_the_line_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(ASSETS, str(write_scenes(tmp_path / "assets")))
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "libero", raising=False)
    with pytest.raises(UserError, match=r"pip install 'vla-workbench\[libero\]'"):
        scenes(find_assets())


# --- initial states are pickles, and nothing in them is run


def test_a_pickle_that_calls_something_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "init_files" / "libero_object"
    folder.mkdir(parents=True)
    planted = f"cposix\nmkdir\n(V{tmp_path / 'run'}\ntR.".encode()
    with zipfile.ZipFile(folder / f"{SOUP}.pruned_init", "w") as archive:
        archive.writestr("archive/data.pkl", planted)
        archive.writestr("archive/version", "3\n")
    monkeypatch.setattr(tasks, "package_folder", lambda: tmp_path)
    tasks.initial_states.cache_clear()
    with pytest.raises(UserError, match="cannot be read"):
        tasks.initial_states("libero-object", SOUP)
    tasks.initial_states.cache_clear()
    assert not (tmp_path / "run").exists()


# --- definitions and initial states, where the package is installed


def test_every_task_has_fifty_initial_states_and_a_goal_of_its_own_things():
    pytest.importorskip("libero")
    for name in SUITES:
        for task in rules_of(name).tasks:
            states = tasks.initial_states(name, task)
            assert len(states) == 50 and np.isfinite(states).all() and np.ptp(states, axis=0).max() > 0
            defined = tasks.definition(name, task)
            assert defined.goal and defined.meant <= defined.names


def test_wrong_instructions_are_promised_just_where_every_scene_has_one():
    pytest.importorskip("libero")
    for name in SUITES:
        others = {task: tasks.misnaming(name, task) for task in rules_of(name).tasks}
        assert rules_of(name).misnames == all(others.values())
        for task, wrong in others.items():
            own = set(tasks.definition(name, task).goal)
            assert all(not own & set(tasks.definition(name, one).goal) for one in wrong)
            assert all(tasks.instruction(one) != tasks.instruction(task) for one in wrong)
    assert len(tasks.misnaming("libero-goal", "turn_on_the_stove")) == 9  # one scene, ten goals
