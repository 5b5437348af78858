"""ManiSkill 3 (Tao et al. 2024, arXiv 2410.00425) for `server.py`: three of its tabletop tasks with a Panda.

Those three whose goal can be seen: PickCube hides its goal from the camera. ManiSkill has no instructions, these are
ours. Action: its `pd_ee_delta_pose`, where 1 asks for 0.1 m or 0.1 rad and the gripper's +1 is open; all about the
base's axes, and rotations of 3.0.1 the other way round (its issue 1469), which is left as it is. State: the joints'
positions, nine, the fingers last.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np

TASKS = {
    "push-cube": ("PushCube-v1", "push the blue cube onto the red and white target", ()),
    "stack-cube": ("StackCube-v1", "put the red cube on the green cube", ("is_cubeA_grasped", "is_cubeA_on_cubeB")),
    "place-sphere": ("PlaceSphere-v1", "put the blue ball into the bin", ("is_obj_grasped", "is_obj_on_bin")),
}
"""ManiSkill's name, the sentence, and what of its evaluation is a stage; a later stage holds the earlier ones."""
SEEDS = 1_000_000
"""An episode's seed is `seed * SEEDS + initial_state`: far from those of the published demonstrations, 0, 1, 2 …"""


class Simulator:
    PLAYS = {"maniskill-tabletop": "a53e6e0ea7ac"}

    def __init__(self, rules: dict[str, Any], count: int, camera: str, render: str):
        self.name, _, size = camera.rpartition(" ")
        width, _, height = size.partition("x")
        self.size = {"width": int(width), "height": int(height)}
        self.envs: list[Any] = [None] * (count + 1)  # the last is for what is seen before an episode
        self.tasks, self.seen = [""] * (count + 1), [{} for _ in range(count + 1)]
        self.experts: list[Iterator[np.ndarray]] = [iter(())] * (count + 1)

    def place(self, row: int, start: dict[str, Any]) -> str:
        task = start["task"]
        if self.tasks[row] != task:
            self._close(row)
            self.envs[row], self.tasks[row] = self._made(task), task
        anew = {"reconfigure": True}  # else the solver remembers what was played before, and the 4th digit differs
        self.seen[row], _ = self.envs[row].reset(seed=start["seed"] * SEEDS + start["initial_state"], options=anew)
        self.experts[row] = import_module("maniskill_expert").expert(task, self.envs[row])
        return TASKS[task][1]

    def move(self, row: int, action: np.ndarray) -> tuple[bool, float, bool, str]:
        _, sentence, stages = TASKS[self.tasks[row]]
        carried_out = np.array(action, np.float32)
        carried_out[-1] = 1.0 if action[-1] > 0 else -1.0
        self.seen[row], _, _, _, info = self.envs[row].step(carried_out)
        held = [bool(info[name]) for name in (*stages, "success")]
        reached = max((place + 1 for place, holds in enumerate(held) if holds), default=0) / len(held)
        return held[-1], reached, False, sentence

    def look(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        return self._picture(row), self.seen[row]["agent"]["qpos"][0].cpu().numpy()

    def first_frame(self, start: dict[str, Any]) -> np.ndarray:
        self.place(-1, start)
        return self._picture(-1)

    def sentence(self, start: dict[str, Any]) -> str:
        return TASKS[start["task"]][1]

    def expert_action(self, row: int) -> np.ndarray:
        return next(self.experts[row])

    def close(self) -> None:
        for row in range(len(self.envs)):
            self._close(row)

    def _made(self, task: str) -> Any:
        import_module("mani_skill.envs")  # registers them
        return import_module("gymnasium").make(
            TASKS[task][0],
            obs_mode="rgb",
            control_mode="pd_ee_delta_pose",
            robot_uids="panda",
            sim_backend="cpu",
            sensor_configs=self.size,
        )

    def _picture(self, row: int) -> np.ndarray:
        return self.seen[row]["sensor_data"][self.name]["rgb"][0].cpu().numpy()

    def _close(self, row: int) -> None:
        if self.envs[row] is not None:
            self.envs[row].close()
            self.envs[row] = None
