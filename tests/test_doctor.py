"""What the doctor finds, and that it says the remedy and never a traceback."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from workbench.benchmarks import doctor, machine
from workbench.benchmarks.doctor import Report, episode, examine, outside, parts, plays_here, summary
from workbench.benchmarks.libero.files import ASSETS
from workbench.benchmarks.machine import Check, disk, extra, packages, rendering
from workbench.benchmarks.rules import benchmarks, rules_of
from workbench.errors import UserError
from workbench.screens.doctor import show_doctor

ASKED = ["numpy>=2.0", "no-such-package>=1.0", 'pyarrow>=999; extra == "far"', 'numpy>=1; extra == "near"']


def test_the_tabletop_is_examined_down_to_an_episode_that_its_expert_solves(tmp_path: Path):
    report = examine("tabletop-v1", tmp_path)
    found = {check.name: check for check in report.checks}
    assert report.sound and not report.others
    assert {"python", "packages", "cores", "gpu", "rendering", "disk", "episode"} <= set(found)
    assert found["episode"].found.startswith("the expert solved 'reach the ")
    assert "MuJoCo" in found["rendering"].found and "torch" in found["packages"].found
    assert all(check.found and not check.remedy for check in report.checks)


def test_without_a_name_every_benchmark_is_a_line_and_none_of_them_decides(tmp_path: Path):
    report = examine(None, tmp_path)
    assert tuple(check.name for check in report.others) == benchmarks()
    assert report.sound and "episode" not in {check.name for check in report.checks}
    assert not Report((Check("a", True, ""), Check("b", False, "", "mend it"))).sound
    assert Report((Check("a", True, ""),), (Check("b", False, "", "mend it"),)).sound


def test_an_unknown_benchmark_gets_the_choices(tmp_path: Path):
    with pytest.raises(UserError, match="No benchmark named 'tabletop-v2'. Did you mean 'tabletop-v1'"):
        examine("tabletop-v2", tmp_path)


# --- packages


def test_a_missing_package_and_an_old_one_are_named_with_the_line_that_installs_them():
    fitting, missing = packages(ASKED)
    assert fitting.ok and fitting.found == f"numpy {np.__version__}"
    assert (missing.ok, missing.found) == (False, "no-such-package is missing")
    assert missing.remedy == "pip install 'no-such-package>=1.0'"


def test_where_nothing_is_installed_that_is_said():
    assert packages(None) == (Check("packages", False, "vla-workbench is not installed here", "pip install -e ."),)


@pytest.mark.parametrize(
    ("name", "ok", "found"),
    [
        ("near", True, f"numpy {np.__version__}"),
        ("far", False, "is not pyarrow>=999"),
        ("none", False, "knows no extra 'none'"),
    ],
)
def test_an_extra_is_installed_or_the_line_that_installs_it_is_said(name: str, ok: bool, found: str):
    check = extra(name, ASKED)
    assert check.ok == ok and found in check.found
    assert ok or check.remedy == f"pip install 'vla-workbench[{name}]'"


def test_a_benchmark_without_its_extra_is_not_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "installed_requirements", lambda: ['no-such-package>=1.0; extra == "libero"'])
    monkeypatch.setattr(doctor, "episode", lambda name: pytest.fail("played"))
    report = examine("libero-goal", tmp_path)
    found = {check.name: check for check in report.checks if not check.ok}
    assert not report.sound and found["extra libero"].found == "no-such-package is missing"
    assert "pip install 'vla-workbench[libero]'" in found["extra libero"].remedy


# --- rendering, room


@pytest.mark.parametrize("value", ["vulkan", "EGLL", "0"])
def test_a_broken_platform_is_named_with_the_ones_that_there_are(value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MUJOCO_GL", value)
    check = rendering()
    assert not check.ok and f"'{value.lower()}'" in check.remedy
    assert "egl, osmesa" in check.remedy and "Unset MUJOCO_GL" in check.remedy
    monkeypatch.delenv("MUJOCO_GL")
    assert rendering().ok


def test_a_black_picture_is_no_rendering(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "BALL", "<mujoco><worldbody/></mujoco>")
    check = rendering()
    assert not check.ok and "black" in check.found and "MUJOCO_GL" in check.remedy


def test_room_is_looked_for_where_the_runs_would_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert disk(tmp_path / "not" / "yet").found.endswith(f"GB free in {tmp_path}")
    (tmp_path / "file").write_text("")
    assert not disk(tmp_path / "file" / "runs").ok
    monkeypatch.setattr(machine, "ROOM", 10**9)
    assert not disk(tmp_path).ok and "--root" in disk(tmp_path).remedy


# --- files and other Pythons


@pytest.mark.parametrize("made", ["nothing", "a file", "an empty folder"])
def test_wrong_scene_files_are_a_finding_with_what_to_download(
    made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = tmp_path / "assets"
    if made == "a file":
        place.write_text("")
    if made == "an empty folder":
        place.mkdir()
    monkeypatch.setenv(ASSETS, str(place))
    (check,) = [check for check in parts(rules_of("libero-goal")) if check.name == "scene files"]
    assert not check.ok and str(place) in check.found and "hf download" in check.remedy
    assert "scene files" in summary("libero-goal").found


def test_a_world_without_a_package_here_plays_in_a_python_of_its_own():
    assert plays_here("tabletop") and plays_here("libero") and not plays_here("calvin")
    unset = outside("calvin", {})
    assert not unset.ok and "set WORKBENCH_PYTHON_CALVIN" in unset.remedy
    assert outside("calvin", {"WORKBENCH_PYTHON_CALVIN": sys.executable}).ok
    assert outside("calvin", {"WORKBENCH_SERVER_CALVIN": "127.0.0.1:4000"}).ok


@pytest.mark.parametrize("given", ["/nowhere/python", "/", "/bin/false"])
def test_what_is_no_python_is_said(given: str):
    check = outside("calvin", {"WORKBENCH_PYTHON_CALVIN": given})
    assert not check.ok and f"WORKBENCH_PYTHON_CALVIN={given}" in check.found and check.remedy


# --- the episode


class Breaks:
    """A simulator that fails as simulators do."""

    def __call__(self, *_: object) -> object:
        raise ZeroDivisionError("mjr_makeContext")


def test_what_a_simulator_raises_is_a_finding_and_no_traceback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workbench.evaluate.open_env", Breaks())
    check = episode("tabletop-v1")
    assert (check.ok, check.found) == (False, "ZeroDivisionError: mjr_makeContext") and check.remedy


def test_where_there_is_no_expert_still_steps_are_played(monkeypatch: pytest.MonkeyPatch):
    rules = rules_of("tabletop-v1").model_copy(update={"expert": False})
    monkeypatch.setattr(doctor, "rules_of", lambda name: rules)
    assert episode("tabletop-v1").found.startswith("5 still steps of 'reach the ")


# --- the screen


def test_the_screen_says_each_remedy_and_json_holds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv(ASSETS, str(tmp_path / "nowhere"))
    assert not show_doctor("libero-goal", tmp_path, "terminal")
    shown = " ".join(capsys.readouterr().out.split())
    assert "✗ scene files" in shown and "set LIBERO_ASSETS=FOLDER" in shown and "Missing: " in shown
    assert not show_doctor("libero-goal", tmp_path, "json")
    told = json.loads(capsys.readouterr().out)
    assert told["benchmark"] == "libero-goal" and told["sound"] is False and told["benchmarks"] == []
    assert {"name", "ok", "found", "remedy"} == set(told["checks"][0])


def test_a_sound_machine_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert show_doctor(None, tmp_path, "terminal")
    shown = capsys.readouterr().out
    assert "All that is needed is here." in shown and "tabletop-v1" in shown
