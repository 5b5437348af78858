"""LIBERO-Plus: what can be told without it, with a stand-in of its task list; and itself, where a Python has it.

The last tests are skipped unless `WORKBENCH_PYTHON_LIBERO_PLUS` names a Python that has it.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from remote import adapter

from workbench.benchmarks.contract import Protocol, Start
from workbench.benchmarks.doctor import outside
from workbench.benchmarks.registry import open_env
from workbench.benchmarks.rules import rules_of

BENCHMARK = """
class Task:
    def __init__(self, folder, name):
        self.name, self.problem_folder = name, folder
        self.language = f"{name} as the file has it"

class Suite:
    name = ""
    def get_task_names(self):
        return NAMES[self.name]
    def get_task(self, index):
        return Task(self.name, NAMES[self.name][index])

def get_benchmark(name):
    return type(name, (Suite,), {"name": name})

def grab_language_from_filename(folder, file):
    return file[: -len(".bddl")].replace("_", " ")
"""
"""The fork's module of tasks, as far as an instruction needs it; NAMES come before it."""
ENDINGS = {
    "Objects Layout": ("_moved_level1_sample3", "_add_2", "_level3_sample4"),
    "Camera Viewpoints": ("_view_334_15_100_0_0_initstate_0", "_view_0_0_160_352_2_initstate_0"),
    "Robot Initial States": ("_view_0_0_100_0_0_initstate_499",),
    "Language Instructions": ("_language_5_view_0_0_100_0_0_initstate_0",),
    "Light Conditions": ("_light_48",),
    "Background Textures": ("_tb_10", "_table_3"),
    "Sensor Noise": ("_view_0_0_100_0_0_initstate_0_noise_27",),
}
ASKED = "put_it_from_table_center_in_the_view_1"
"""A task whose own words look like a disturbance."""


@pytest.fixture
def plus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The adapter, with a package `libero` of a task list and empty folders that takes any other's place."""
    package = tmp_path / "libero" / "libero"
    (package / "benchmark").mkdir(parents=True)
    (package / "assets" / "scenes").mkdir(parents=True)
    module = adapter("libero_plus")
    classified = {
        suite: [{"name": ASKED + end, "category": named} for named, ends in ENDINGS.items() for end in ends]
        for suite in module.SUITES.values()
    }
    names = {suite: [one["name"] for one in tasks] for suite, tasks in classified.items()}
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "benchmark" / "__init__.py").write_text(f"NAMES = {names}\n{BENCHMARK}")
    content = json.dumps(classified).encode()
    (package / "benchmark" / "task_classification.json").write_bytes(content)
    monkeypatch.setattr(module, "CLASSIFIED", hashlib.sha256(content).hexdigest())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("LIBERO_CONFIG_PATH", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        monkeypatch.setenv(name, "before")
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "libero"}
    monkeypatch.syspath_prepend(str(tmp_path))
    yield module
    for name in [name for name in sys.modules if name.partition(".")[0] == "libero"]:
        del sys.modules[name]
    sys.modules.update(before)


def simulator(module: ModuleType) -> Any:
    return module.Simulator(rules_of("libero-plus").model_dump(), 1, "agentview 256x256", "official")


def test_its_10030_episodes_are_four_suites_in_seven_dimensions():
    rules, module = rules_of("libero-plus"), adapter("libero_plus")
    assert rules.tasks == tuple(f"{suite}-{dimension}" for suite in module.SUITES for dimension in module.DIMENSIONS)
    episodes = Protocol(benchmark="libero-plus").manifest()
    assert len(set(episodes)) == len(episodes) == sum(rules.states.values()) == 10_030
    assert {task: sum(one.task == task for one in episodes) for task in rules.tasks} == rules.states
    for suite in module.SUITES:
        there, horizons = rules_of(f"libero-{suite}"), {rules.horizons[f"{suite}-{name}"] for name in module.DIMENSIONS}
        assert horizons == set(there.horizons.values())
        same = ("settling_steps", "n_action_steps", "state", "actions", "gripper", "fps")
        assert [getattr(rules, name) for name in same] == [getattr(there, name) for name in same]
        assert rules.cameras[0] == there.cameras[0]


def test_fewer_episodes_are_the_first_of_each_task():
    few = Protocol(benchmark="libero-plus", initial_states=300, tasks=("object-background", "object-noise"))
    counted = [(task, sum(one.task == task for one in few.manifest())) for task in few.tasks]
    assert counted == [("object-background", 248), ("object-noise", 300)]


def test_a_disturbance_is_no_part_of_the_instruction_and_a_changed_instruction_is_the_files(plus: ModuleType):
    played = simulator(plus)
    for task, names in played.groups.items():
        for state, name in enumerate(names):
            said = played.sentence({"task": task, "initial_state": state, "seed": 1})
            plain = ASKED.replace("_", " ")
            assert said == (f"{name} as the file has it" if task.endswith("-language") else plain)


def test_tasks_are_in_an_order_that_their_names_alone_decide(plus: ModuleType):
    names = [ASKED + end for end in ENDINGS["Objects Layout"]]
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert simulator(plus).groups["goal-layout"] == ordered != names


def test_the_fork_is_told_its_own_folders_and_asks_nothing(plus: ModuleType, tmp_path: Path):
    package = plus.configured()
    told = json.loads((Path(os.environ["LIBERO_CONFIG_PATH"]) / "config.yaml").read_text())
    assert package == tmp_path / "libero" / "libero" and told["bddl_files"] == str(package / "bddl_files")
    assert [path.name for path in Path(os.environ["LIBERO_CONFIG_PATH"]).iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("assets/scenes", "has no scenes: unpack the assets.zip of LIBERO-Plus there"),
        ("benchmark/task_classification.json", "is LIBERO, not LIBERO-Plus"),
    ],
)
def test_what_is_missing_of_the_fork_is_said_in_one_line(plus: ModuleType, tmp_path: Path, missing: str, said: str):
    there = tmp_path / "libero" / "libero" / missing
    there.rmdir() if there.is_dir() else there.unlink()
    with pytest.raises(ImportError, match=said):
        simulator(plus)


def test_another_list_of_tasks_is_refused(plus: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plus, "CLASSIFIED", adapter("libero_plus").CLASSIFIED)
    with pytest.raises(ImportError, match="not faa87cce.*: check LIBERO-Plus out at 4976dc3"):
        simulator(plus)


def test_the_doctor_says_in_one_sentence_what_to_install():
    remedy = outside("libero_plus", {}).remedy
    for part in ("LIBERO-plus at 4976dc3", "extra_requirements.txt", "libmagickwand", "assets.zip"):
        assert part in remedy
    assert remedy.endswith("set WORKBENCH_PYTHON_LIBERO_PLUS to its python.")


# --- the fork itself

itself = pytest.mark.skipif(
    "WORKBENCH_PYTHON_LIBERO_PLUS" not in os.environ, reason="WORKBENCH_PYTHON_LIBERO_PLUS names no Python"
)
STARTS = [Start(f"goal-{dimension}", state, 404) for dimension, state in (("camera", 0), ("noise", 1), ("robot", 0))]


@pytest.mark.slow
@itself
def test_an_episode_is_the_same_in_any_row_and_order_and_its_first_picture_is_told_before():
    found, random = [], np.random.default_rng(0)
    actions_KA = np.hstack([random.uniform(-1, 1, (9, 6)), np.ones((9, 1))])
    for order in ([0, 1, 2], [2, 0, 1]):
        env = open_env(Protocol(benchmark="libero-plus"), 3)
        try:
            env.begin([STARTS[index] for index in order])
            first = env.observe()
            for row, index in enumerate(order):
                np.testing.assert_array_equal(env.first_frame(STARTS[index]), first["pixels"][row])
            for action_A in actions_KA:
                env.advance(np.stack([action_A] * 3), np.ones(3, bool))
            last, back = env.observe(), np.argsort(order)
        finally:
            env.close()
        found.append([seen[name][back] for seen in (first, last) for name in ("pixels", "agent_pos")])
    for here, there in zip(*found, strict=True):
        np.testing.assert_array_equal(here, there)
    fingers = [agent_pos[:, 6] for agent_pos in found[0][1::2]]
    assert (fingers[0] > 0.038).all() and (fingers[1] < fingers[0]).all(), "+1 closes"
