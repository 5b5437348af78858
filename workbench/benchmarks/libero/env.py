"""LIBERO as a benchmark (Liu et al. 2023, arXiv:2306.03310), through the package hf-libero."""

from typing import Any

import numpy as np

from workbench.benchmarks.contract import Protocol, Start
from workbench.benchmarks.env import RowEnv
from workbench.benchmarks.libero.files import find_assets
from workbench.benchmarks.libero.scene import Scene, scenes
from workbench.benchmarks.libero.tasks import chosen, definition, initial_states, instruction, misnaming


class LiberoEnv(RowEnv):
    """LIBERO's rows, each a scene of its own. State and action are as the rules name them; gripper +1 closes.

    Raises UserError, with the remedy, where the package or the scene files are missing.
    """

    def __init__(self, protocol: Protocol, count: int):
        super().__init__(protocol, count)
        self.module = scenes(find_assets())
        self.camera = protocol.camera.rpartition(" ")[0]
        self.rows: list[Scene | None] = [None] * count
        self.aside: Scene | None = None

    def place(self, row: int, start: Start) -> None:
        self.rows[row] = self._begun(self.rows[row], start)

    def move(self, row: int, action: np.ndarray) -> tuple[bool, float]:
        return self._at(row).step(action)

    def look(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        return self._at(row).frame(), self._at(row).state()

    def first_frame(self, start: Start) -> np.ndarray:
        self.aside = self._begun(self.aside, start)
        return self.aside.frame()

    def sentence(self, start: Start) -> str:
        return instruction(start.task)

    def misnamed(self, start: Start) -> str:
        others = misnaming(self.protocol.benchmark, start.task)
        return instruction(chosen(others, start.initial_state)) if others else super().misnamed(start)

    def close_extras(self, **kwargs: Any) -> None:
        for scene in (*self.rows, self.aside):
            if scene is not None:
                scene.close()

    def _begun(self, scene: Scene | None, start: Start) -> Scene:
        """The same scene where it is the task's, else a new one, at the start of its episode."""
        task = definition(self.protocol.benchmark, start.task)
        if scene is None or scene.task != task:
            if scene is not None:
                scene.close()
            scene = Scene(self.module, task, self.camera, (self.width, self.height))
        state_S = initial_states(self.protocol.benchmark, start.task)[start.initial_state]
        scene.begin(state_S, (start.seed, start.initial_state), self.rules.settling_steps)
        return scene

    def _at(self, row: int) -> Scene:
        scene = self.rows[row]
        assert scene is not None, "reset the row first"
        return scene
