"""Rendered tabletop scenes for the embedded vision-language model: what a generic VLM would have seen of such a world.

They are made fairer than the benchmark's own frames would be: camera, sizes, table, lighting and shades vary,
two colours never occur in the benchmark, objects are missing, and there is no task, no action and no episode.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workbench.benchmarks.rendering import Camera, View
from workbench.benchmarks.simulator import mujoco
from workbench.benchmarks.tabletop.world import BLOCKS, CAMERA, COLOURS, PLATES, REACH, World

SHADES: dict[str, tuple[float, float, float]] = COLOURS | {"pink": (0.98, 0.55, 0.75), "cyan": (0.15, 0.80, 0.85)}
KINDS = ("block", "plate", "gripper", "shadow")
ENTITIES = BLOCKS + PLATES + 2
"""Blocks, plates, the gripper's tip, its shadow."""


@dataclass(frozen=True)
class Scenes:
    """N pictures and what is in them; M entities each, in the order of `ENTITIES`.

    `image [N, side, side, 3]` uint8; `kind [N, M]` and `colour [N, M]` are indices into KINDS and SHADES (-1: none);
    `at [N, M, 2]` is the entity's place in the image, x to the right and y down, 0 … 1;
    `shown [N, M]` says whether it is there.
    """

    image: np.ndarray
    kind: np.ndarray
    colour: np.ndarray
    at: np.ndarray
    shown: np.ndarray

    def __len__(self) -> int:
        return len(self.image)

    def pick(self, rows: np.ndarray) -> "Scenes":
        return Scenes(self.image[rows], self.kind[rows], self.colour[rows], self.at[rows], self.shown[rows])

    def part(self, start: int, stop: int) -> "Scenes":
        return self.pick(np.arange(start, stop))


def _view(random: np.random.Generator) -> View:
    azimuth, elevation = CAMERA.azimuth + random.uniform(-12, 12), CAMERA.elevation + random.uniform(-8, 8)
    distance = CAMERA.distance * random.uniform(0.92, 1.15)
    x, y, z = (float(at) for at in np.asarray(CAMERA.lookat) + random.uniform(-0.02, 0.02, 3))
    return View(azimuth, elevation, distance, (x, y, z))


def _spots(random: np.random.Generator) -> np.ndarray:
    while True:
        spots = random.uniform(-REACH - 0.02, REACH + 0.02, (BLOCKS + PLATES, 2))
        gaps = np.linalg.norm(spots[:, None] - spots[None], axis=-1) + np.eye(len(spots))
        if gaps.min() > 0.075:
            return spots


class Painter:
    """Sets the world up for one picture after the other; the same generator gives the same pictures."""

    def __init__(self, side: int, random: np.random.Generator):
        self.random = random
        self.world = World()
        self.data = mujoco.MjData(self.world.model)
        self.camera = Camera(self.world.model, side)
        self.shades = np.array(list(SHADES.values()))
        self.table = self.world.model.geom("table").id

    def paint(self, scenes: Scenes, n: int) -> None:
        """Draw a scene and write picture and truth into row `n`."""
        random, model = self.random, self.world.model
        spots, view, half = _spots(random), _view(random), random.uniform(0.02, 0.029)
        scenes.colour[n, : BLOCKS + PLATES] = random.permutation(len(self.shades))[: BLOCKS + PLATES]
        scenes.shown[n, : BLOCKS + PLATES] = random.random(BLOCKS + PLATES) < random.uniform(0.2, 1.1)
        scenes.shown[n, -2:] = random.random() < 0.9
        model.geom_rgba[self.table, :3] = random.uniform(0.45, 0.95) + random.uniform(-0.08, 0.08, 3)
        model.vis.headlight.ambient[:] = random.uniform(0.3, 0.55)
        tip, lifted = self._tip(spots, half)
        points = np.empty((ENTITIES, 3))
        points[:-2] = self._objects(spots, tip, half, lifted)
        for i, geom in enumerate(self.world.object_geoms):
            shade = self.shades[scenes.colour[n, i]] + random.normal(0, 0.04, 3)
            model.geom_rgba[geom] = [*np.clip(shade, 0, 1), float(scenes.shown[n, i])]
        points[-2:] = tip, [tip[0], tip[1], 0.0]
        hidden = 0.0 if scenes.shown[n, -1] else 5.0  # out of the camera's sight
        self.world.move(self.data, tip + [0.0, hidden, 0.0])
        self.camera.aim(view)
        mujoco.mj_kinematics(model, self.data)
        mujoco.mj_camlight(model, self.data)  # without it the world's light stays off
        scenes.image[n] = self.camera.frame(self.data)
        scenes.at[n] = view.project(points)
        scenes.shown[n] &= ((scenes.at[n] > 0.0) & (scenes.at[n] < 1.0)).all(axis=1)

    def _tip(self, spots: np.ndarray, half: float) -> tuple[np.ndarray, int | None]:
        """Where the gripper is, often near an object and never inside a block; and which block it has lifted."""
        random = self.random
        tip = np.array([*random.uniform(-REACH - 0.04, REACH + 0.04, 2), random.uniform(0.01, 0.19)])
        lifted = int(random.integers(BLOCKS)) if random.random() < 0.2 else None
        if random.random() < 0.25:
            tip[:2] = spots[random.integers(len(spots))] + random.normal(0, 0.015, 2)
        over = (np.linalg.norm(spots[:BLOCKS] - tip[:2], axis=1) < 1.6 * half).any()
        if over or lifted is not None:
            tip[2] = max(tip[2], 2 * half)
        return tip, lifted

    def _objects(self, spots: np.ndarray, tip: np.ndarray, half: float, lifted: int | None) -> np.ndarray:
        """Put blocks and plates there; returns their tops' centres `[BLOCKS + PLATES, 3]`."""
        model, radius = self.world.model, self.random.uniform(0.036, 0.05)
        tops = np.array([[x, y, 2 * half if i < BLOCKS else 0.008] for i, (x, y) in enumerate(spots)])
        if lifted is not None:
            tops[lifted] = tip
        for i, geom in enumerate(self.world.object_geoms):
            if i < BLOCKS:
                model.geom_size[geom] = half
                at = model.jnt_qposadr[self.world.block_joint[i]]
                self.data.qpos[at : at + 7] = [tops[i, 0], tops[i, 1], tops[i, 2] - half, 1, 0, 0, 0]
            else:
                model.geom_size[geom, 0] = radius
                self.data.mocap_pos[self.world.plate_mocap[i - BLOCKS]] = [
                    tops[i, 0],
                    tops[i, 1],
                    model.geom_size[geom, 1],
                ]
        return tops


def render_scenes(count: int, side: int, seed: int) -> Iterator[tuple[int, Scenes]]:
    """Yields how many of `count` scenes are done, and all of them (whole at the end); same seed, same scenes."""
    painter = Painter(side, np.random.default_rng(seed))
    scenes = Scenes(
        image=np.empty((count, side, side, 3), np.uint8),
        kind=np.tile(np.array([0] * BLOCKS + [1] * PLATES + [2, 3], np.int64), (count, 1)),
        colour=np.full((count, ENTITIES), -1, np.int64),
        at=np.empty((count, ENTITIES, 2)),
        shown=np.ones((count, ENTITIES), bool),
    )
    try:
        for n in range(count):
            painter.paint(scenes, n)
            if (n + 1) % 100 == 0 or n + 1 == count:
                yield n + 1, scenes
    finally:
        painter.camera.close()
