"""One LIBERO scene on robosuite: built, put into an initial state, stepped, seen.

robosuite samples an observation, camera included, in the first of a control step's substeps: some 48 ms before the step
ends. Published policies were trained and judged on such pictures, so a picture here is of that moment. But it is drawn
only when it is looked at, which for chunks of eight actions is once in eight steps.
"""

import importlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from workbench.benchmarks.libero.files import INSTALL, REMEDY, package_folder
from workbench.benchmarks.libero.tasks import Definition
from workbench.benchmarks.rendering import open_context
from workbench.benchmarks.simulator import mujoco
from workbench.errors import RunFailed, UserError

CONTROL_HZ = 20
TRIES = 100
"""Placements that may be drawn until the things of a scene do not overlap."""
STILL = np.array([0.0] * 6 + [-1.0])
"""No movement, gripper open: what is done while the scene settles (openvla-oft and openpi do the same)."""


def scenes(assets: Path) -> Any:
    """LIBERO's module of environments, which reads its scene files from `assets`.

    Raises UserError where it cannot be imported. Nothing is asked or downloaded, and ~/.libero is left alone.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vla-workbench" / "libero"
    folder.mkdir(parents=True, exist_ok=True)
    package = package_folder()
    own = {"benchmark_root": package, "bddl_files": package / "bddl_files", "init_states": package / "init_files"}
    known = {name: str(path) for name, path in (own | {"datasets": folder, "assets": assets}).items()}
    (folder / "config.yaml").write_text(json.dumps(known), encoding="utf-8")  # where there is none, the import asks
    os.environ["LIBERO_CONFIG_PATH"] = str(folder)
    context, platform = open_context(16)
    context.free()
    os.environ["MUJOCO_GL"] = platform  # robosuite would take EGL without looking whether it starts
    try:
        root: Any = importlib.import_module("libero.libero")
        root._assets_path_cache = str(assets)  # the only way past its download: `assets` of its config is not read
        return importlib.import_module("libero.libero.envs")
    except ImportError as error:
        raise UserError(INSTALL.format(reason=str(error))) from error


@contextmanager
def drawing_from(*seed: int) -> Iterator[None]:
    """LIBERO draws placements from NumPy's global generator; it is seeded here, and given back as it was."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


class Scene:
    """A task's scene, with an OpenGL context of its own. `camera` is one of the scene's cameras."""

    def __init__(self, module: Any, task: Definition, camera: str, size: tuple[int, int]):
        self.task, self.camera, self.size = task, camera, size
        self.seen: dict[str, np.ndarray] = {}
        self.env = self._built(module)
        self.env.add_observable(self._sampled())

    def begin(self, state_S: np.ndarray, seed: tuple[int, int], settling: int) -> None:
        """Start an episode at a fixed initial state, and let the scene come to rest.

        A state holds no fixture: these are placed anew in each episode, within their regions, from the seed (openvla
        and openpi seed once for a task: "seed seems to affect object positions even when using fixed initial state").
        """
        self._draw_here()
        with drawing_from(*seed):
            self._reset()
        sim = self.env.sim
        if len(state_S) != 1 + sim.model.nq + sim.model.nv:
            raise UserError(
                f"An initial state of {self.task.path.stem} has {len(state_S)} numbers, but its scene "
                f"{1 + sim.model.nq + sim.model.nv}: the scene files are not those of LIBERO."
            )
        sim.set_state_from_flattened(state_S)
        sim.forward()
        self.env._post_process()
        self.env._update_observables(force=True)
        self.seen = self.env._get_observations()
        for _ in range(settling):
            self.step(STILL)

    def step(self, action_A: np.ndarray) -> tuple[bool, float]:
        """One control step: whether the goal holds, and the share of its predicates that do."""
        self._draw_here()
        self.seen, _, done, _ = self.env.step(np.asarray(action_A, np.float64))
        goal = self.env.parsed_problem["goal_state"]
        return bool(done), 1.0 if done else sum(bool(self.env._eval_predicate(p)) for p in goal) / len(goal)

    def frame(self) -> np.ndarray:
        """The camera's picture uint8 `[H, W, 3]`, turned by 180° as openvla, openpi and their training data have it.

        robosuite's first row is the lowest, so this also mirrors left and right (see `workbench.data.libero`).
        """
        self._draw_here()
        drawn, (width, height) = self.env.sim._render_context_offscreen, self.size
        mujoco.mjr_render(mujoco.MjrRect(0, 0, width, height), drawn.scn, drawn.con)
        picture = drawn.read_pixels(width, height)
        return np.ascontiguousarray(picture[::-1, ::-1])

    def state(self) -> np.ndarray:
        """Hand's position in metres, its axis-angle vector in radians, both fingers in metres: `[8]`."""
        transforms = importlib.import_module("robosuite.utils.transform_utils")
        turned = transforms.quat2axisangle(np.array(self.seen["robot0_eef_quat"]))  # it clips its argument in place
        return np.concatenate([self.seen["robot0_eef_pos"], turned, self.seen["robot0_gripper_qpos"]])

    def close(self) -> None:
        self._draw_here()
        self.env.close()

    def _built(self, module: Any) -> Any:
        controller = importlib.import_module("robosuite").load_controller_config(default_controller="OSC_POSE")
        try:
            with drawing_from(0):  # begin() draws again
                return module.TASK_MAPPING[self.task.problem.lower()](
                    str(self.task.path),
                    robots=["Panda"],
                    controller_configs=controller,
                    initialization_noise=None,
                    control_freq=CONTROL_HZ,
                    ignore_done=True,
                    use_camera_obs=False,
                )
        except (FileNotFoundError, ValueError) as error:  # MuJoCo's of a mesh or texture
            said = " ".join(str(error).split())
            raise UserError(f"The scene of {self.task.path.stem} cannot be built ({said}). {REMEDY}") from error

    def _draw_here(self) -> None:
        """robosuite draws and frees in whatever context is current, which may be another scene's."""
        self.env.sim._render_context_offscreen.gl_ctx.make_current()

    def _sampled(self) -> Any:
        """What sets the scene to be drawn at the moment at which robosuite samples its observations."""
        observables = importlib.import_module("robosuite.utils.observables")

        @observables.sensor(modality="drawn")
        def drawn(_: Any) -> float:
            sim = self.env.sim
            here = sim._render_context_offscreen
            here.cam.fixedcamid = sim.model.camera_name2id(self.camera)
            every = mujoco.mjtCatBit.mjCAT_ALL.value
            mujoco.mjv_updateScene(sim.model._model, sim.data._data, here.vopt, here.pert, here.cam, every, here.scn)
            return 0.0

        return observables.Observable(name="drawn", sensor=drawn, sampling_rate=CONTROL_HZ)

    def _reset(self) -> None:
        overlap = importlib.import_module("robosuite.utils.errors").RandomizationError
        for _ in range(TRIES):
            try:
                self.env.reset()
                return
            except overlap:
                continue
        raise RunFailed(f"{self.task.path.stem}: {TRIES} placements were drawn, and things overlapped in all of them.")
