"""The table, its objects and the suction gripper, in MuJoCo.

Units are metres; x grows to the right of the image, y away from the camera, z up; the table top is z = 0.
One compiled model serves every episode: colours, sizes and the camera are fields that an episode sets,
positions live in an `MjData` of its own, so that many episodes share one OpenGL context.
The cup centres the block that it holds and touches nothing else; blocks, plates and the table do collide.
"""

from dataclasses import dataclass

import numpy as np

from workbench.benchmarks.rendering import View
from workbench.benchmarks.simulator import mujoco

BLOCKS = 3
PLATES = 2
BLOCK_HALF = 0.025
PLATE_RADIUS = 0.045
PLATE_HALF = 0.004
REACH = 0.15
"""Objects lie, and the gripper starts, within ±REACH of the centre in x and y."""
TOP = 0.20
"""Highest position of the gripper's tip."""
SUCTION = 0.04
"""The cup holds a block whose top's centre is nearer than this in the plane and in height."""
LAMP = {False: (0.92, 0.92, 0.95), True: (0.10, 0.10, 0.12)}
"""Colour of the shaft, free and holding: like a vacuum switch's lamp, it shows what one frame could not tell."""
STEP = 0.04
"""Metres that an action of 1.0 moves the gripper in one control step."""
SUBSTEPS = 8
SUBSTEP = np.arange(1, SUBSTEPS + 1)[:, None]
LOWEST, HIGHEST = np.array([-REACH - 0.05, -REACH - 0.05, 0.006]), np.array([REACH + 0.05, REACH + 0.05, TOP])
"""How far the tip may go."""

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.10, 0.10),
    "green": (0.10, 0.65, 0.15),
    "blue": (0.12, 0.25, 0.85),
    "yellow": (0.95, 0.85, 0.10),
    "purple": (0.55, 0.15, 0.65),
    "orange": (0.98, 0.50, 0.05),
}

CAMERA = View(azimuth=90.0, elevation=-55.0, distance=0.58, lookat=(0.0, 0.01, 0.03))
"""The benchmark's third-person camera."""


def _mjcf() -> str:
    blocks = "".join(
        f'<body name="block{i}"><freejoint/><geom name="block{i}" type="box"'
        f' size="{BLOCK_HALF} {BLOCK_HALF} {BLOCK_HALF}" mass="0.05" friction="1 0.05 0.01"/></body>'
        for i in range(BLOCKS)
    )
    plates = "".join(
        f'<body name="plate{i}" mocap="true">'
        f'<geom name="plate{i}" type="cylinder" size="{PLATE_RADIUS} {PLATE_HALF}"/></body>'
        for i in range(PLATES)
    )
    welds = "".join(
        f'<weld name="hold{i}" body1="gripper" body2="block{i}" active="false" solref="0.01 1"'
        f' relpose="0 0 {-BLOCK_HALF} 1 0 0 0"/>'
        for i in range(BLOCKS)
    )
    free = " ".join(str(part) for part in LAMP[False])
    return f"""
<mujoco model="tabletop">
  <size nuserdata="3"/>
  <option timestep="0.005" cone="elliptic"/>
  <default><default class="ghost"><geom type="cylinder" contype="0" conaffinity="0"/></default></default>
  <visual><headlight ambient="0.45 0.45 0.45" diffuse="0.45 0.45 0.45" specular="0 0 0"/></visual>
  <worldbody>
    <light pos="0.3 -0.4 1.2" dir="-0.2 0.3 -1" diffuse="0.35 0.35 0.35" specular="0 0 0"/>
    <geom name="table" type="plane" size="1 1 0.1" rgba="0.75 0.72 0.68 1" friction="1 0.05 0.01"/>
    <body name="gripper" mocap="true" pos="0 0 0.15">
      <geom name="cup" class="ghost" size="0.014 0.008" pos="0 0 0.008" rgba="0.05 0.05 0.05 1"/>
      <geom name="shaft" class="ghost" size="0.007 0.08" pos="0 0 0.096" rgba="{free} 1"/>
    </body>
    <body name="shadow" mocap="true"><geom name="shadow" class="ghost" size="0.012 0.001" rgba="0.2 0.2 0.2 1"/></body>
    {blocks}{plates}
  </worldbody>
  <equality>{welds}</equality>
</mujoco>"""


@dataclass(frozen=True)
class Layout:
    """One initial state: where everything is and which colour it has.

    `blocks_xy [BLOCKS, 2]`, `plates_xy [PLATES, 2]` and `gripper_xyz [3]` in metres;
    `colours` names the blocks first, then the plates.
    """

    blocks_xy: np.ndarray
    plates_xy: np.ndarray
    gripper_xyz: np.ndarray
    colours: tuple[str, ...]


def sample_layout(random: np.random.Generator, apart: float = 0.085) -> Layout:
    """A layout whose objects lie at least `apart` metres from each other; distinct colours."""
    names = list(COLOURS)
    colours = tuple(names[i] for i in random.permutation(len(names))[: BLOCKS + PLATES])
    while True:
        spots = random.uniform(-REACH, REACH, (BLOCKS + PLATES, 2))
        gaps = np.linalg.norm(spots[:, None] - spots[None], axis=-1) + np.eye(len(spots))
        if gaps.min() >= apart:
            break
    while True:
        gripper = np.array([*random.uniform(-REACH, REACH, 2), random.uniform(0.06, 0.14)])
        if np.linalg.norm(spots[:BLOCKS] - gripper[:2], axis=1).min() >= apart:
            break
    return Layout(spots[:BLOCKS], spots[BLOCKS:], gripper, colours)


class World:
    """One model; `data` of an episode is passed in, so that a world serves many episodes at once."""

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_string(_mjcf())
        names = [f"block{i}" for i in range(BLOCKS)] + [f"plate{i}" for i in range(PLATES)]
        self.objects = np.array([self.model.body(name).id for name in names])
        self.shaft = int(self.model.geom("shaft").id)
        self.object_geoms = np.array([self.model.geom(name).id for name in names])
        self.gripper = int(self.model.body("gripper").mocapid[0])
        self.shadow = int(self.model.body("shadow").mocapid[0])
        self.plate_mocap = [int(self.model.body(f"plate{i}").mocapid[0]) for i in range(PLATES)]
        self.block_joint = [int(self.model.body(f"block{i}").jntadr[0]) for i in range(BLOCKS)]

    def place(self, layout: Layout) -> mujoco.MjData:
        """Fresh physics with `layout` in it, at rest."""
        data = mujoco.MjData(self.model)
        for i, joint in enumerate(self.block_joint):
            at = self.model.jnt_qposadr[joint]
            data.qpos[at : at + 7] = [*layout.blocks_xy[i], BLOCK_HALF, 1, 0, 0, 0]
        for i, mocap in enumerate(self.plate_mocap):
            data.mocap_pos[mocap] = [*layout.plates_xy[i], PLATE_HALF]
        self.move(data, layout.gripper_xyz)
        mujoco.mj_forward(self.model, data)
        return data

    def paint(self, colours: tuple[str, ...], *, holding: bool) -> None:
        """Give the objects and the lamp their colours (fields of the model: call before rendering an episode)."""
        rgba = self.model.geom_rgba
        rgba[self.shaft, :3] = LAMP[holding]
        rgba[self.object_geoms] = [(*COLOURS[colour], 1.0) for colour in colours]

    def tip(self, data: mujoco.MjData) -> np.ndarray:
        """Position of the suction cup's lower face, `[3]` metres."""
        return data.mocap_pos[self.gripper].copy()

    def tops(self, data: mujoco.MjData) -> np.ndarray:
        """Centre of each object's upper face, blocks first, `[BLOCKS + PLATES, 3]` metres."""
        centres = data.xpos[self.objects].copy()
        centres[:BLOCKS, 2] += BLOCK_HALF
        centres[BLOCKS:, 2] += PLATE_HALF
        return centres

    def held(self, data: mujoco.MjData) -> int | None:
        """Index of the block that the cup holds, or None."""
        on = np.flatnonzero(data.eq_active)
        return int(on[0]) if len(on) else None

    def speed(self, data: mujoco.MjData) -> float:
        """How far the last control step moved the tip in the plane, in units of the largest action."""
        return float(np.linalg.norm(data.userdata[:2])) / STEP

    def step(self, data: mujoco.MjData, action: np.ndarray) -> None:
        """One control step: `action [7]` in [-1, 1] is Δx Δy Δz Δroll Δpitch Δyaw gripper (+1 = closed).

        The rotations are part of the convention (Bridge, LIBERO, CALVIN) and have no effect on a round cup.
        """
        action = np.clip(action, -1.0, 1.0)
        self._grip(data, closed=action[6] > 0)
        start = self.tip(data)
        way = np.clip(start + STEP * action[:3], LOWEST, HIGHEST) - start
        data.userdata[:] = way
        for tip in start + way * SUBSTEP / SUBSTEPS:
            self.move(data, tip)
            mujoco.mj_step(self.model, data)
        mujoco.mj_forward(self.model, data)

    def move(self, data: mujoco.MjData, tip: np.ndarray) -> None:
        """Put the tip there and a dark spot on the table below it: rendered shadows are off, and height needs a cue."""
        positions = data.mocap_pos
        positions[self.gripper] = tip
        positions[self.shadow] = tip
        positions[self.shadow, 2] = 0.001

    def _grip(self, data: mujoco.MjData, closed: bool) -> None:
        if not closed:
            data.eq_active[:] = 0
            return
        if self.held(data) is not None:
            return
        away = self.tops(data)[:BLOCKS] - self.tip(data)
        near = (np.linalg.norm(away[:, :2], axis=1) < SUCTION) & (np.abs(away[:, 2]) < SUCTION)
        if near.any():
            block = int(np.flatnonzero(near)[np.argmin(np.linalg.norm(away[near], axis=1))])
            data.eq_active[block] = 1
