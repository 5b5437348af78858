"""Meta-World (arXiv:1910.10897; release 3.1.1) as a benchmark: Sawyer's fifty tasks, their scripted experts, a camera.

Where an episode begins is drawn by the task itself, from a generator that the start alone seeds. The cameras hang
upside down: pictures are turned by 180°. Actions are Δx Δy Δz of the hand and the fingers' effort, which is no
open-or-closed: some experts hold with part of it.
"""

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workbench.benchmarks.contract import Protocol, Start
from workbench.benchmarks.env import RowEnv
from workbench.benchmarks.metaworld.tasks import SENTENCES
from workbench.benchmarks.rendering import RENDER_MODE, Camera
from workbench.errors import UserError

KEPT = 4
"""Tasks whose models are kept when nobody plays them: a model takes a third of a second and tens of megabytes."""
REMEDY = "Meta-World is not installed: pip install 'vla-workbench[metaworld]'."


@dataclass
class Stage:
    """What rows that play one task share: a camera, an expert, and simulators that no row holds now."""

    camera: Camera
    expert: Any
    idle: list[Any] = field(default_factory=list)
    playing: int = 0


@dataclass
class Playing:
    """What a row holds: its simulator, and what that told last."""

    stage: Stage
    simulator: Any
    told: np.ndarray


class MetaWorldEnv(RowEnv):
    """Meta-World's rows. State: the hand in metres and how far the fingers are open, 0 … 1."""

    def __init__(self, protocol: Protocol, count: int):
        super().__init__(protocol, count)
        self.library = _library()
        self.looks_through, _, _ = protocol.camera.rpartition(" ")
        self.stages: dict[str, Stage] = {}
        self.rows: list[Playing | None] = [None] * count

    def place(self, row: int, start: Start) -> None:
        self._release(row)
        self.rows[row] = self._begun(start)

    def move(self, row: int, action: np.ndarray) -> tuple[bool, float]:
        playing = self._at(row)
        playing.told, _, _, _, info = playing.simulator.step(np.clip(action, -1.0, 1.0))
        stages = [info[name] > 0 for name in ("near_object", "grasp_success", "success")]
        return bool(stages[-1]), 1.0 if stages[-1] else sum(stages) / len(stages)

    def look(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        playing = self._at(row)
        return self._picture(playing), playing.told[: len(self.rules.state)]

    def leave(self, row: int) -> None:
        super().leave(row)
        self._release(row)

    def first_frame(self, start: Start) -> np.ndarray:
        playing = self._begun(start)
        picture = self._picture(playing)
        self._give_back(playing)
        return picture

    def sentence(self, start: Start) -> str:
        return SENTENCES[start.task]

    def expert_action(self, row: int) -> np.ndarray:
        playing = self._at(row)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of actions that are clipped, as they are here
            return np.clip(playing.stage.expert.get_action(playing.told), -1.0, 1.0)

    def close_extras(self, **kwargs: Any) -> None:
        for stage in self.stages.values():
            stage.camera.close()

    def _begun(self, start: Start) -> Playing:
        stage, simulator = self._taken(start.task)
        simulator.np_random = np.random.default_rng([start.seed, *start.task.encode(), start.initial_state])
        told, _ = simulator.reset()
        return Playing(stage, simulator, told)

    def _taken(self, task: str) -> tuple[Stage, Any]:
        stage = self.stages.get(task)
        simulator = stage.idle.pop() if stage and stage.idle else self._new_simulator(task)
        if stage is None:
            self._forget_one()
            stage = self.stages[task] = Stage(self._new_camera(simulator), self.library.policies.ENV_POLICY_MAP[task]())
        stage.playing += 1
        return stage, simulator

    def _new_simulator(self, task: str) -> Any:
        made = self.library.ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{task}-goal-observable"](seed=0)
        made.seeded_rand_vec, made._freeze_rand_vec = True, False  # each reset draws anew, from `np_random`
        return made

    def _new_camera(self, simulator: Any) -> Camera:
        camera = Camera(simulator.model, self.width, full=self.protocol.render != RENDER_MODE)
        camera.fix(self.looks_through)
        return camera

    def _forget_one(self) -> None:
        """Make room for another task: the one that was taken up first of those that nobody plays."""
        unplayed = [task for task, stage in self.stages.items() if not stage.playing]
        if len(self.stages) >= KEPT and unplayed:
            self.stages.pop(unplayed[0]).camera.close()

    def _release(self, row: int) -> None:
        if (playing := self.rows[row]) is not None:
            self._give_back(playing)
            self.rows[row] = None

    @staticmethod
    def _give_back(playing: Playing) -> None:
        playing.stage.idle.append(playing.simulator)
        playing.stage.playing -= 1

    def _picture(self, playing: Playing) -> np.ndarray:
        return playing.stage.camera.frame(playing.simulator.data, model=playing.simulator.model)[::-1, ::-1]

    def _at(self, row: int) -> Playing:
        playing = self.rows[row]
        assert playing is not None, "reset the row first"
        return playing


def _library() -> Any:
    """The package; imported behind MuJoCo, whose OpenGL platform is chosen by `rendering`."""
    try:
        import metaworld
        import metaworld.policies  # an attribute of the package from now on
    except ImportError as error:
        raise UserError(REMEDY) from error
    return metaworld
