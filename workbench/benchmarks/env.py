"""What a simulator promises to the workbench: a Gymnasium vector environment, `count` episodes side by side.

`BenchmarkEnv` speaks of all rows at once, so that it can stand for a simulator in another process. `RowEnv` is the same
for a simulator in this one, row by row.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from workbench.benchmarks.contract import Protocol, Start
from workbench.benchmarks.rules import camera_size, rules_of
from workbench.errors import UserError

# R rows  H, W pixels  S state width  A action width


class BenchmarkEnv(VectorEnv, ABC):
    """Rows that each play an episode, or are empty.

    Observation: `pixels` uint8 `[R, H, W, 3]` and `agent_pos` float32 `[R, S]`. Action: float `[R, A]` in [-1, 1], as
    the benchmark's rules name them. Autoreset is off: `reset(options={"starts": [Start | None, …]})` starts the rows
    that are not None and leaves the others alone. `info` holds `is_success`, `progress` `[R]` and `task_description`
    (one sentence a row).

    By row are `starts`, `age` (control steps), `best` (share of the stages reached), `lost` (ended by the benchmark's
    own rule) and `instructions`, which may change while an episode is played.
    """

    def __init__(self, protocol: Protocol, count: int):
        self.protocol, self.rules, self.num_envs = protocol, rules_of(protocol.benchmark), count
        self.metadata = {
            "autoreset_mode": AutoresetMode.DISABLED,
            "render_modes": ["rgb_array"],
            "render_fps": self.rules.fps,
        }
        self.width, self.height = camera_size(protocol.camera)
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (len(self.rules.actions),), np.float32)
        self.single_observation_space = gymnasium.spaces.Dict(
            pixels=gymnasium.spaces.Box(0, 255, (self.height, self.width, 3), np.uint8),
            agent_pos=gymnasium.spaces.Box(-np.inf, np.inf, (len(self.rules.state),), np.float32),
        )
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, count)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, count)
        self.starts: list[Start | None] = [None] * count
        self.instructions = [""] * count
        self.age = np.zeros(count, np.int64)
        self.best = np.zeros(count)
        self.lost = np.zeros(count, bool)

    @abstractmethod
    def begin(self, starts: Sequence[Start | None]) -> None:
        """Put the rows whose start is not None at it."""

    @abstractmethod
    def advance(self, actions: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """One control step of the chosen rows (bool `[R]`), without pictures; returns success `[R]`."""

    @abstractmethod
    def observe(self) -> dict[str, np.ndarray]:
        """What all rows see now; an empty row sees black."""

    @abstractmethod
    def leave(self, row: int) -> None:
        """Empty a row: it is neither stepped nor rendered until it begins again."""

    @abstractmethod
    def first_frame(self, start: Start) -> np.ndarray:
        """What is seen when the episode of `start` begins, uint8 `[H, W, 3]`; no row is touched."""

    @abstractmethod
    def sentence(self, start: Start) -> str:
        """The instruction with which the episode of `start` begins; no row is touched."""

    def misnamed(self, start: Start) -> str:
        """An instruction for the same scene that asks for something else."""
        raise UserError(f"{self.protocol.benchmark} has no wrong instructions for its scenes.")

    def paraphrased(self, start: Start) -> str:
        """The same instruction in words that are in no demonstration."""
        raise UserError(f"{self.protocol.benchmark} has no paraphrases of its instructions.")

    def expert_action(self, row: int) -> np.ndarray:
        """What the scripted expert does next, `[A]` in [-1, 1]; it sees the state."""
        raise UserError(f"{self.protocol.benchmark} has no scripted expert.")

    def privileged_names(self) -> Mapping[str, tuple[str, ...]]:
        """Columns of what only the simulator knows, with the names of their values."""
        return {}

    def privileged(self, row: int) -> dict[str, np.ndarray]:
        """These columns at the row's present frame, float32."""
        raise UserError(f"{self.protocol.benchmark} tells nothing but what is seen.")

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        starts = (options or {}).get("starts")
        if starts is None:
            task = self.protocol.tasks[0]
            starts = [Start(task, i, 0 if seed is None else int(seed)) for i in range(self.num_envs)]
        self.begin(starts)
        return self.observe(), self._info(np.zeros(self.num_envs, bool))

    def step(self, actions: np.ndarray) -> tuple[dict, np.ndarray, np.ndarray, np.ndarray, dict]:
        success = self.advance(actions, np.ones(self.num_envs, bool))
        late = np.array([start is not None and self._late(row) for row, start in enumerate(self.starts)])
        return self.observe(), success.astype(np.float64), success | self.lost, late, self._info(success)

    def ended(self, row: int, success: bool) -> bool:
        """Solved, lost by the benchmark's own rule, or out of time."""
        return success or bool(self.lost[row]) or self._late(row)

    def horizon(self, row: int) -> int:
        start = self.starts[row]
        assert start is not None, "reset the row first"
        horizon = self.rules.horizons[start.task]
        return horizon if self.protocol.horizon is None else min(horizon, self.protocol.horizon)

    def _late(self, row: int) -> bool:
        return bool(self.age[row] >= self.horizon(row))

    def _info(self, success: np.ndarray) -> dict[str, Any]:
        return {"is_success": success, "progress": self.best.copy(), "task_description": list(self.instructions)}


class RowEnv(BenchmarkEnv):
    """A simulator in this process: what one row does, and the bookkeeping of all."""

    @abstractmethod
    def place(self, row: int, start: Start) -> None:
        """Put the row at the start of its episode, its settling steps included."""

    @abstractmethod
    def move(self, row: int, action: np.ndarray) -> tuple[bool, float]:
        """One control step; whether the episode is solved by it, and the share of its stages that hold."""

    @abstractmethod
    def look(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """The row's picture uint8 `[H, W, 3]` and state `[S]`."""

    def begin(self, starts: Sequence[Start | None]) -> None:
        for row, start in enumerate(starts):
            if start is not None:
                self.age[row], self.lost[row], self.best[row] = 0, False, 0.0
                self.starts[row], self.instructions[row] = start, self.sentence(start)
                self.place(row, start)

    def advance(self, actions: np.ndarray, rows: np.ndarray) -> np.ndarray:
        success = np.zeros(self.num_envs, bool)
        for row, start in enumerate(self.starts):
            if start is not None and rows[row]:
                success[row], reached = self.move(row, actions[row])
                self.best[row] = max(self.best[row], reached)
                self.age[row] += 1
        return success

    def observe(self) -> dict[str, np.ndarray]:
        pixels = np.zeros((self.num_envs, self.height, self.width, 3), np.uint8)
        state = np.zeros((self.num_envs, len(self.rules.state)), np.float32)
        for row, start in enumerate(self.starts):
            if start is not None:
                pixels[row], state[row] = self.look(row)
        return {"pixels": pixels, "agent_pos": state}

    def leave(self, row: int) -> None:
        self.starts[row], self.instructions[row] = None, ""
