"""The tabletop as a benchmark: many episodes in one process, one OpenGL context."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from workbench.benchmarks.contract import Protocol, Start
from workbench.benchmarks.env import RowEnv
from workbench.benchmarks.rendering import Camera
from workbench.benchmarks.simulator import mujoco
from workbench.benchmarks.tabletop.privileged import PRIVILEGED_NAMES, privileged
from workbench.benchmarks.tabletop.tasks import FAMILIES, Goal, draw_goal, expert, misnamed, paraphrased
from workbench.benchmarks.tabletop.world import CAMERA, Layout, World, sample_layout
from workbench.errors import unknown


@lru_cache(maxsize=1024)
def layout_and_goal(start: Start) -> tuple[Layout, Goal]:
    """What `start` means: its layout and its goal, from its own generator; the same objects for the same start."""
    if start.task not in FAMILIES:
        raise unknown("task", start.task, FAMILIES)
    random = np.random.default_rng([start.seed, list(FAMILIES).index(start.task), start.initial_state])
    layout = sample_layout(random)
    return layout, draw_goal(start.task, layout, random)


class TabletopVectorEnv(RowEnv):
    """The tabletop's rows. State: the tip in metres and the gripper, +1 closed; action: Δx Δy Δz Δroll Δpitch Δyaw
    gripper (+1 closed).
    """

    def __init__(self, protocol: Protocol, count: int):
        super().__init__(protocol, count)
        self.world = World()
        self.camera = Camera(self.world.model, self.width)
        self.camera.aim(CAMERA)
        self.layouts: list[Layout | None] = [None] * count
        self.goals: list[Goal | None] = [None] * count
        self.data: list[mujoco.MjData | None] = [None] * count
        self.grip = -np.ones(count, np.float32)

    def place(self, row: int, start: Start) -> None:
        layout, goal = layout_and_goal(start)
        self.layouts[row], self.goals[row], self.data[row] = layout, goal, self.world.place(layout)
        self.grip[row] = -1.0

    def move(self, row: int, action: np.ndarray) -> tuple[bool, float]:
        _, goal, data = self._at(row)
        self.world.step(data, action)
        self.grip[row] = 1.0 if action[6] > 0 else -1.0
        stages = FAMILIES[goal.family].stages(self.world, data, goal)
        self.lost[row] = FAMILIES[goal.family].choice(self.world, data) not in (None, goal.thing)
        return stages[-1], 1.0 if stages[-1] else sum(stages) / len(stages)

    def look(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        layout, _, data = self._at(row)
        self.world.paint(layout.colours, holding=self.world.held(data) is not None)
        return self.camera.frame(data), np.array([*self.world.tip(data), self.grip[row]])

    def leave(self, row: int) -> None:
        super().leave(row)
        self.layouts[row] = self.goals[row] = self.data[row] = None

    def first_frame(self, start: Start) -> np.ndarray:
        layout, _ = layout_and_goal(start)
        self.world.paint(layout.colours, holding=False)
        return self.camera.frame(self.world.place(layout))

    def sentence(self, start: Start) -> str:
        return layout_and_goal(start)[1].instruction

    def misnamed(self, start: Start) -> str:
        layout, goal = layout_and_goal(start)
        return misnamed(goal, layout)

    def paraphrased(self, start: Start) -> str:
        layout, goal = layout_and_goal(start)
        return paraphrased(goal, layout, start.initial_state)

    def expert_action(self, row: int) -> np.ndarray:
        _, goal, data = self._at(row)
        return expert(self.world, data, goal)

    def privileged_names(self) -> Mapping[str, tuple[str, ...]]:
        return PRIVILEGED_NAMES

    def privileged(self, row: int) -> dict[str, np.ndarray]:
        layout, goal, data = self._at(row)
        return privileged(self.world, data, layout, goal.thing, self.camera)

    def close_extras(self, **kwargs: Any) -> None:
        self.camera.close()

    def _at(self, row: int) -> tuple[Layout, Goal, mujoco.MjData]:
        layout, goal, data = self.layouts[row], self.goals[row], self.data[row]
        assert layout is not None and goal is not None and data is not None, "reset the row first"
        return layout, goal, data
