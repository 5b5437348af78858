"""The tabletop as a simulator in a Python of its own: an adapter for tests, played through the line."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from workbench.benchmarks.contract import TABLETOP, TABLETOP_RULES, Protocol, Start
from workbench.benchmarks.tabletop.env import TabletopVectorEnv


class Simulator:
    PLAYS = {TABLETOP: TABLETOP_RULES}

    def __init__(self, rules: dict, count: int, camera: str, render: str):
        self.env = TabletopVectorEnv(Protocol().model_copy(update={"camera": camera, "render": render}), count)

    def place(self, row: int, start: dict) -> str:
        self.env.begin([Start(**start) if place == row else None for place in range(self.env.num_envs)])
        return self.env.instructions[row]

    def move(self, row: int, action: np.ndarray) -> tuple[bool, float, bool, str]:
        success, reached = self.env.move(row, action)
        return success, reached, bool(self.env.lost[row]), self.env.instructions[row]

    def look(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        return self.env.look(row)

    def first_frame(self, start: dict) -> np.ndarray:
        return self.env.first_frame(Start(**start))

    def sentence(self, start: dict) -> str:
        return self.env.sentence(Start(**start))

    def expert_action(self, row: int) -> np.ndarray:
        return self.env.expert_action(row)

    def close(self) -> None:
        self.env.close()
