"""CALVIN (Mees et al. 2022, arXiv 2112.03227) for `server.py`: chains of five instructions in environment D.

The environment, the 1,000 evaluation chains, their initial states and the task oracle are CALVIN's own, from
`calvin_env` and `calvin_agent` as github.com/mees/calvin installs them; this file only plays them as its
`evaluate_policy.py` does. A process holds one row: calvin_env talks to PyBullet's first client in places.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

CHAINS = 1000
PATIENCE = 360
"""Control steps that each subtask may take."""
RENDERS = {"egl": True, "tiny-renderer": False}
"""PyBullet's OpenGL plugin, with which the published figures were made, and its renderer without OpenGL."""


class Simulator:
    """Action: Δx Δy Δz (0.02 m), Δroll Δpitch Δyaw (0.05 rad), gripper (+1 open). State: `robot_obs`, 15 numbers."""

    PLAYS = {"calvin-abc-d": "3444dd7d5914"}

    def __init__(self, rules: dict[str, Any], count: int, camera: str, render: str):
        if count != 1:
            raise ValueError(f"a process holds one CALVIN environment, not {count}")
        self.camera_name, self.render = camera, render
        self.chains, self.sentences, self.oracle = chains(), sentences(), oracle()
        self.env = open_env(camera, render)
        self.camera = self.env.cameras.pop()  # it draws where someone looks, not at each control step
        self.subtasks: tuple[str, ...] = ()
        self.done, self.age, self.before = 0, 0, {}
        self.spare: ProcessPoolExecutor | None = None

    def place(self, row: int, start: dict[str, Any]) -> str:
        condition, self.subtasks = self.chains[start["initial_state"]]
        put(self.env, condition)
        self._ask(0)
        return self.sentences[self.subtasks[0]]

    def move(self, row: int, action: np.ndarray) -> tuple[bool, float, bool, str]:
        carried_out = np.array(action, np.float64)
        carried_out[-1] = 1.0 if action[-1] > 0 else -1.0
        now = self.env.step(carried_out)[3]
        self.age += 1
        if self.oracle.get_task_info_for_set(self.before, now, {self.subtasks[self.done]}):
            self._ask(self.done + 1)
        solved = self.done == len(self.subtasks)
        asked = self.subtasks[min(self.done, len(self.subtasks) - 1)]
        return solved, self.done / len(self.subtasks), self.age >= PATIENCE, self.sentences[asked]

    def look(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        return seen(self.camera), self.env.get_state_obs()["robot_obs"]

    def first_frame(self, start: dict[str, Any]) -> np.ndarray:
        if self.spare is None:
            self.spare = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        condition, _ = self.chains[start["initial_state"]]
        return self.spare.submit(first_seen, condition, self.camera_name, self.render).result()

    def sentence(self, start: dict[str, Any]) -> str:
        return self.sentences[self.chains[start["initial_state"]][1][0]]

    def close(self) -> None:
        if self.spare is not None:
            self.spare.shutdown()
        self.env.close()

    def _ask(self, subtask: int) -> None:
        """Ask for a subtask: it is judged against the world as it is now."""
        self.done, self.age, self.before = subtask, 0, self.env.get_info()


def chains() -> list[tuple[dict[str, Any], tuple[str, ...]]]:
    """The initial condition and the five subtasks of each of the evaluation's chains.

    CALVIN draws them anew each time, minutes on all processors: they are kept beside the user's other caches, by the
    digest of the code that draws them. Whoever comes meanwhile waits.
    """
    drawer = import_module("calvin_agent.evaluation.multistep_sequences")
    digest = hashlib.sha256(Path(str(drawer.__file__)).read_bytes()).hexdigest()[:12]
    folder = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vla-workbench"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"calvin-chains-{digest}.json"
    with open(kept.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            unfinished = kept.with_suffix(".part")
            unfinished.write_text(json.dumps(drawer.get_sequences(CHAINS)), encoding="utf-8")
            unfinished.replace(kept)
    return [(condition, tuple(subtasks)) for condition, subtasks in json.loads(kept.read_text(encoding="utf-8"))]


def sentences() -> dict[str, str]:
    """The evaluation's sentence for each subtask."""
    return {task: said[0] for task, said in _configuration("annotations/new_playtable_validation.yaml").items()}


def oracle() -> Any:
    """What tells of two moments whether a subtask was done between them."""
    told = _configuration("callbacks/rollout/tasks/new_playtable_tasks.yaml")
    return import_module("hydra.utils").instantiate(told)


def open_env(camera: str, render: str) -> Any:
    """Environment D with the static camera alone, as large as the camera's name says."""
    hydra = import_module("hydra")
    folder = Path(str(import_module("calvin_env").__file__)).resolve().parents[1] / "conf"
    width, _, height = camera.rpartition(" ")[2].partition("x")
    asked = ["cameras=static_and_gripper", "~cameras.gripper", "scene=calvin_scene_D_eval"]
    with hydra.initialize_config_dir(config_dir=str(folder)):
        told = hydra.compose(
            "config_data_collection",
            [*asked, f"cameras.static.width={width}", f"cameras.static.height={height}"],
        )
    chosen = {"show_gui": False, "use_vr": False, "use_scene_info": True, "use_egl": RENDERS[render]}
    return import_module("hydra.utils").instantiate(told.env, **chosen)


def put(env: Any, condition: dict[str, Any]) -> None:
    """Put robot and scene as the evaluation does at the beginning of a chain.

    The last gripper command, which is part of the state, is put too: calvin_env keeps that of the episode before.
    """
    robot, scene = import_module("calvin_agent.evaluation.utils").get_env_state_for_initial_condition(condition)
    env.reset(robot_obs=robot, scene_obs=scene)
    env.robot.gripper_action = int(robot[-1])


def seen(camera: Any) -> np.ndarray:
    return np.asarray(camera.render()[0], np.uint8)


def first_seen(condition: dict[str, Any], camera: str, render: str) -> np.ndarray:
    """The first picture of a chain, in a process of its own: a second environment here would disturb the first."""
    env = spare_env(camera, render)
    put(env, condition)
    return seen(env.cameras[0])


@functools.lru_cache(maxsize=1)
def spare_env(camera: str, render: str) -> Any:
    return open_env(camera, render)


def _configuration(name: str) -> Any:
    folder = Path(str(import_module("calvin_agent").__file__)).resolve().parents[1] / "conf"
    return import_module("omegaconf").OmegaConf.load(folder / name)
