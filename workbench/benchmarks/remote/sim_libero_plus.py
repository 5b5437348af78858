"""LIBERO-Plus (Fei et al. 2025, arXiv 2510.13626) for `server.py`: LIBERO's four suites, disturbed in seven dimensions.

Its 10,030 tasks, their disturbances, initial states and success are those of the fork github.com/sylvestf/LIBERO-plus,
through its own classes; this file only plays them, one episode each. What a policy sees and does is as in `libero-*`:
the camera's picture turned by 180°, actions of robosuite's OSC_POSE with the gripper's +1 closing, eight numbers of
state, still steps first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

SUITES = {"spatial": "libero_spatial", "object": "libero_object", "goal": "libero_goal", "10": "libero_10"}
DIMENSIONS = {
    "layout": "Objects Layout",
    "camera": "Camera Viewpoints",
    "robot": "Robot Initial States",
    "language": "Language Instructions",
    "light": "Light Conditions",
    "background": "Background Textures",
    "noise": "Sensor Noise",
}
"""Our tasks are `spatial-layout` … `10-noise`: the fork's suites, and its names of the dimensions."""
CLASSIFIED = "faa87cce3e3ba434da01df7c77523a391b5f2912e4774330b0aa1be5f6a999e6"
"""SHA-256 of the fork's `task_classification.json` at its commit 4976dc3: which task is of which dimension."""
NOISES, STRENGTHS = ("motion_blur", "gaussian_blur", "zoom_blur", "fog", "glass_blur"), 10
"""The fork's functions for its noises 1 … 10, 11 … 20 and so on, each the stronger the higher its number."""
DISTURBED = re.compile(
    r"_view(_\d+){5}_initstate_\d+(_noise_\d+)?$|_(table|tb|light|add)_\d+$|(_moved)?_level\d+_sample\d+$"
)
"""What the fork adds to the name of LIBERO's task; a changed instruction is in the task's file."""
STILL = np.array([0.0] * 6 + [-1.0])
TRIES = 100
"""Placements that may be drawn until the things of a scene do not overlap."""


class Simulator:
    PLAYS = {"libero-plus": "c89ad26e4a22"}

    def __init__(self, rules: dict[str, Any], count: int, camera: str, render: str):
        self.camera, self.settling = camera, rules["settling_steps"]
        self.groups = grouped(configured())
        self.rows: list[Episode | None] = [None] * (count + 1)  # the last is for what is seen before an episode

    def place(self, row: int, start: dict[str, Any]) -> str:
        self._close(row)
        suite, index = self._played(start)
        begun = self.rows[row] = Episode(suite, index, self.camera, (start["seed"], start["initial_state"]))
        begun.begin(suite.get_task_init_states(index)[0], self.settling)
        return begun.said

    def move(self, row: int, action: np.ndarray) -> tuple[bool, float, bool, str]:
        solved, reached = self._at(row).step(np.asarray(action, np.float64))
        return solved, reached, False, self._at(row).said

    def look(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        return self._at(row).picture(), self._at(row).state()

    def first_frame(self, start: dict[str, Any]) -> np.ndarray:
        self.place(-1, start)
        return self._at(-1).picture()

    def sentence(self, start: dict[str, Any]) -> str:
        suite, index = self._played(start)
        return instruction(suite, index)

    def close(self) -> None:
        for row in range(len(self.rows)):
            self._close(row)

    def _played(self, start: dict[str, Any]) -> tuple[Any, int]:
        """The fork's suite, and the number of its task that a start names."""
        name = self.groups[start["task"]][start["initial_state"]]
        suite = opened(SUITES[start["task"].partition("-")[0]])
        return suite, suite.get_task_names().index(name)

    def _at(self, row: int) -> Episode:
        played = self.rows[row]
        assert played is not None, "place the row first"
        return played

    def _close(self, row: int) -> None:
        played, self.rows[row] = self.rows[row], None
        if played is not None:
            played.close()


class Episode:
    """One disturbed task in the fork's own environment. `camera` is a name and a size; chance is drawn from `seed`."""

    def __init__(self, suite: Any, index: int, camera: str, seed: tuple[int, int]):
        self.said, self.seed, self.age = instruction(suite, index), seed, 0
        self.view, _, size = camera.rpartition(" ")
        width, _, height = size.partition("x")
        self.width, self.height, self.seen = int(width), int(height), {}
        self.wrapper = import_module("libero.libero.envs.env_wrapper")
        np.random.seed(seed)
        file = suite.get_task_bddl_file_path(index)  # its name says what is disturbed: there may be no such file
        self.env = tried(lambda: self.wrapper.ControlEnv(file, use_camera_obs=False, ignore_done=True))
        self.noise, self.env.noise = self.env.noise, 0  # the fork disturbs each step's picture, here those looked at
        self.env.env.add_observable(self._sampled())

    def begin(self, state_S: np.ndarray, settling: int) -> None:
        """From a fixed initial state; what it does not hold, such as a stove's place, is drawn from the seed."""
        self._draw_here()
        np.random.seed(self.seed)
        tried(self.env.env.reset)  # not the wrapper's, which would try for ever whatever goes wrong
        self.seen = self.env.set_init_state(state_S)
        for _ in range(settling):
            self.step(STILL)
        self.age = 0

    def step(self, action_A: np.ndarray) -> tuple[bool, float]:
        """Whether the goal holds, and the share of its predicates that do."""
        self._draw_here()
        self.seen, _, solved, _ = self.env.step(action_A)
        self.age += 1
        goal, holds = self.env.env.parsed_problem["goal_state"], self.env.env._eval_predicate
        return bool(solved), 1.0 if solved else sum(bool(holds(part)) for part in goal) / len(goal)

    def picture(self) -> np.ndarray:
        """Turned by 180°; the same noise for the same moment of an episode, however often it is looked at."""
        self._draw_here()
        drawn = self.env.sim._render_context_offscreen
        mujoco = import_module("mujoco")
        mujoco.mjr_render(mujoco.MjrRect(0, 0, self.width, self.height), drawn.scn, drawn.con)
        pixels = drawn.read_pixels(self.width, self.height)
        if self.noise:
            np.random.seed((*self.seed, self.age))
            kind, strength = divmod(self.noise - 1, STRENGTHS)
            clean = import_module("PIL.Image").fromarray(pixels)
            pixels = np.asarray(getattr(self.wrapper, NOISES[kind])(clean, severity=strength + 1)).astype(np.uint8)
        return np.ascontiguousarray(pixels[::-1, ::-1])

    def state(self) -> np.ndarray:
        """Hand's position in metres, its axis-angle vector in radians, both fingers in metres: `[8]`."""
        transforms = import_module("robosuite.utils.transform_utils")
        turned = transforms.quat2axisangle(np.array(self.seen["robot0_eef_quat"]))  # it clips its argument in place
        return np.concatenate([self.seen["robot0_eef_pos"], turned, self.seen["robot0_gripper_qpos"]])

    def close(self) -> None:
        self._draw_here()
        self.env.close()

    def _sampled(self) -> Any:
        """Sets the scene to be drawn when robosuite samples what is seen, 48 ms before the step's end, as `libero-*`.

        It is drawn when someone looks, not at each control step.
        """
        observables, mujoco = import_module("robosuite.utils.observables"), import_module("mujoco")

        @observables.sensor(modality="drawn")
        def drawn(_: Any) -> float:
            sim = self.env.sim
            here = sim._render_context_offscreen
            here.cam.type = mujoco.mjtCamera.mjCAMERA_FIXED
            here.cam.fixedcamid = sim.model.camera_name2id(self.view)
            every = mujoco.mjtCatBit.mjCAT_ALL.value
            mujoco.mjv_updateScene(sim.model._model, sim.data._data, here.vopt, here.pert, here.cam, every, here.scn)
            return 0.0

        return observables.Observable(name="drawn", sensor=drawn, sampling_rate=self.env.env.control_freq)

    def _draw_here(self) -> None:
        """robosuite draws and frees in whatever context is current, which may be another row's."""
        self.env.sim._render_context_offscreen.gl_ctx.make_current()


def configured() -> Path:
    """The fork's folder, which its modules are told, so that none asks a question or plays with another LIBERO's files.

    Raises ImportError where the package is another one, or has no scene files.
    """
    found = find_spec("libero.libero")
    if found is None or found.origin is None:
        raise ImportError("there is no package libero.libero")
    package = Path(found.origin).parent
    if not (package / "benchmark" / "task_classification.json").is_file():
        raise ImportError(f"{package} is LIBERO, not LIBERO-Plus, which takes its place under the same name")
    if not (package / "assets" / "scenes").is_dir():
        raise ImportError(f"{package / 'assets'} has no scenes: unpack the assets.zip of LIBERO-Plus there")
    folder = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vla-workbench" / "libero-plus"
    folder.mkdir(parents=True, exist_ok=True)
    own = {"benchmark_root": "", "bddl_files": "bddl_files", "init_states": "init_files", "assets": "assets"}
    unfinished = folder / f"{os.getpid()}.part"  # others begin at the same time
    unfinished.write_text(json.dumps({name: str(package / place) for name, place in own.items()}), encoding="utf-8")
    unfinished.replace(folder / "config.yaml")
    os.environ["LIBERO_CONFIG_PATH"] = str(folder)
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # its initial states are code, as it is itself
    return package


def grouped(package: Path) -> dict[str, list[str]]:
    """The fork's tasks of each of ours; initial state i is the i-th of them.

    They are ordered by the digest of their names, so that the first few are a fair sample: the file has those of one
    scene beside each other. Raises ImportError for a file of another version.
    """
    content = (file := package / "benchmark" / "task_classification.json").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != CLASSIFIED:
        raise ImportError(f"{file} has the SHA-256 {digest}, not {CLASSIFIED}: check LIBERO-Plus out at 4976dc3")
    groups, classified = {}, json.loads(content)
    for short, suite in SUITES.items():
        for ours, theirs in DIMENSIONS.items():
            names = [one["name"] for one in classified[suite] if one["category"] == theirs]
            groups[f"{short}-{ours}"] = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return groups


@lru_cache(maxsize=len(SUITES))
def opened(suite: str) -> Any:
    return import_module("libero.libero.benchmark").get_benchmark(suite)()


def instruction(suite: Any, index: int) -> str:
    """The task's sentence, by the fork's own function, as LIBERO has it where the instruction is not what is disturbed.

    `Task.language` of the fork ends with the disturbance (`… on the plate view 0 0 100 2 352 initstate 0`, its issue
    64), which is no word of any instruction.
    """
    task = suite.get_task(index)
    if "_language_" in task.name:
        return task.language
    file = f"{DISTURBED.sub('', task.name)}.bddl"
    return import_module("libero.libero.benchmark").grab_language_from_filename(task.problem_folder, file)


def tried(draw: Callable[[], Any]) -> Any:
    """What comes of it, drawn anew where things overlap."""
    overlap = import_module("robosuite.utils.errors").RandomizationError
    for _ in range(TRIES):
        try:
            return draw()
        except overlap:
            continue
    raise RuntimeError(f"{TRIES} placements were drawn, and things overlapped in all of them")
