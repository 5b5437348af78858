"""The tabletop as a Gymnasium vector environment: many episodes in one process, one OpenGL context."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from workbench.benchmarks.contract import Start
from workbench.benchmarks.rendering import Camera
from workbench.benchmarks.simulator import mujoco
from workbench.benchmarks.tabletop.privileged import privileged
from workbench.benchmarks.tabletop.tasks import FAMILIES, Goal, draw_goal, expert
from workbench.benchmarks.tabletop.world import CAMERA, Layout, World, sample_layout
from workbench.errors import unknown

SIDE = 64
STATE_NAMES = ("x", "y", "z", "gripper")
ACTION_NAMES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")
FPS = 10


def layout_and_goal(start: Start) -> tuple[Layout, Goal]:
    """What `start` means: its layout and its goal, from its own generator."""
    if start.task not in FAMILIES:
        raise unknown("task", start.task, FAMILIES)
    random = np.random.default_rng([start.seed, list(FAMILIES).index(start.task), start.initial_state])
    layout = sample_layout(random)
    return layout, draw_goal(start.task, layout, random)


class TabletopVectorEnv(VectorEnv):
    """`count` tables side by side.

    Observation: `pixels` uint8 `[count, side, side, 3]` and `agent_pos` float32 `[count, 4]` (tip in m, gripper ±1).
    Action: float `[count, 7]` in [-1, 1]: Δx Δy Δz Δroll Δpitch Δyaw gripper (+1 = closed). Autoreset is off:
    `reset(options={"starts": [Start | None, …]})` starts the rows that are not None and leaves the others alone.
    `info` holds `is_success`, `progress` `[count]` and `task_description` (one sentence a row).
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": ["rgb_array"], "render_fps": FPS}

    def __init__(self, count: int, *, side: int = SIDE):
        self.num_envs = count
        self.side = side
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (7,), np.float32)
        self.single_observation_space = gymnasium.spaces.Dict(
            pixels=gymnasium.spaces.Box(0, 255, (side, side, 3), np.uint8),
            agent_pos=gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32),
        )
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, count)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, count)
        self.world = World()
        self.camera = Camera(self.world.model, side)
        self.camera.aim(CAMERA)
        self.layouts: list[Layout | None] = [None] * count
        self.goals: list[Goal | None] = [None] * count
        self.data: list[mujoco.MjData | None] = [None] * count
        self.age = np.zeros(count, np.int64)
        self.lost = np.zeros(count, bool)
        self.best = np.zeros(count)
        self.grip = -np.ones(count, np.float32)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        starts = (options or {}).get("starts") or [
            Start("reach", i, 0 if seed is None else int(seed)) for i in range(self.num_envs)
        ]
        for row, start in enumerate(starts):
            if start is not None:
                layout, goal = layout_and_goal(start)
                self.layouts[row], self.goals[row], self.data[row] = layout, goal, self.world.place(layout)
                self.age[row], self.lost[row], self.best[row], self.grip[row] = 0, False, 0.0, -1.0
        return self.observe(), self._info(np.zeros(self.num_envs, bool))

    def step(self, actions: np.ndarray) -> tuple[dict, np.ndarray, np.ndarray, np.ndarray, dict]:
        success = self.advance(actions, np.ones(self.num_envs, bool))
        late = np.array([goal is not None and self._late(row) for row, goal in enumerate(self.goals)])
        return self.observe(), success.astype(np.float64), success | self.lost, late, self._info(success)

    def advance(self, actions: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Physics without pictures: one control step of the chosen rows (bool `[count]`); returns success `[count]`."""
        success = np.zeros(self.num_envs, bool)
        for row, (goal, data) in enumerate(zip(self.goals, self.data, strict=True)):
            if goal is None or data is None or not rows[row]:
                continue
            self.world.step(data, actions[row])
            self.grip[row] = 1.0 if actions[row][6] > 0 else -1.0
            stages = FAMILIES[goal.family].stages(self.world, data, goal)
            success[row] = stages[-1]
            self.best[row] = 1.0 if stages[-1] else max(self.best[row], sum(stages) / len(stages))
            self.lost[row] = FAMILIES[goal.family].choice(self.world, data) not in (None, goal.thing)
            self.age[row] += 1
        return success

    def observe(self) -> dict[str, np.ndarray]:
        pixels = np.zeros((self.num_envs, self.side, self.side, 3), np.uint8)
        state = np.zeros((self.num_envs, 4), np.float32)
        for row, (layout, data) in enumerate(zip(self.layouts, self.data, strict=True)):
            if layout is not None and data is not None:
                self.world.paint(layout.colours, holding=self.world.held(data) is not None)
                pixels[row] = self.camera.frame(data)
                state[row] = [*self.world.tip(data), self.grip[row]]
        return {"pixels": pixels, "agent_pos": state}

    def first_frame(self, start: Start) -> np.ndarray:
        """What is seen when the episode of `start` begins, uint8 `[side, side, 3]`; no row is touched."""
        layout, _ = layout_and_goal(start)
        self.world.paint(layout.colours, holding=False)
        return self.camera.frame(self.world.place(layout))

    def privileged(self, row: int) -> dict[str, np.ndarray]:
        """What the simulator knows of the row's present frame, by column: see `PRIVILEGED_NAMES`."""
        layout, goal, data = self.layouts[row], self.goals[row], self.data[row]
        assert layout is not None and goal is not None and data is not None, "reset the row first"
        return privileged(self.world, data, layout, goal.thing, self.camera)

    def leave(self, row: int) -> None:
        """Empty a row: it is neither stepped nor rendered until it is reset."""
        self.layouts[row] = self.goals[row] = self.data[row] = None

    def expert_action(self, row: int) -> np.ndarray:
        goal, data = self.goals[row], self.data[row]
        assert goal is not None and data is not None, "reset the row first"
        return expert(self.world, data, goal)

    def ended(self, row: int, success: bool) -> bool:
        """Solved, lost by settling on the wrong block, or out of time."""
        return success or bool(self.lost[row]) or self._late(row)

    def horizon(self, row: int) -> int:
        goal = self.goals[row]
        assert goal is not None, "reset the row first"
        return FAMILIES[goal.family].horizon

    def close_extras(self, **kwargs: Any) -> None:
        self.camera.close()

    def _late(self, row: int) -> bool:
        return bool(self.age[row] >= self.horizon(row))

    def _info(self, success: np.ndarray) -> dict[str, Any]:
        return {
            "is_success": success,
            "progress": self.best.copy(),
            "task_description": [g.instruction if g else "" for g in self.goals],
        }
