"""Episodes of the tabletop by its expert, and of each frame what the simulator knows: what skills are judged by."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from tables import tables

from workbench.benchmarks.contract import Start
from workbench.benchmarks.rendering import Camera
from workbench.benchmarks.simulator import mujoco
from workbench.benchmarks.tabletop.privileged import PRIVILEGED_NAMES
from workbench.benchmarks.tabletop.tasks import FAMILIES, Goal, thing_name
from workbench.benchmarks.tabletop.world import Layout, World
from workbench.data.contract import Frames
from workbench.pretraining.questions import place
from workbench.scene import read_scenes
from workbench.skills.contract import Known, Turn
from workbench.skills.places import located_levels
from workbench.skills.registry import ASK

TURNS = 400


@dataclass(frozen=True)
class Moment:
    """The physics that one frame shows, and of each pixel the renderer's own geom and metres along the view."""

    data: Any
    layout: Layout
    goal: Goal
    geom_HW: np.ndarray
    depth_HW: np.ndarray


@dataclass(frozen=True)
class Seen:
    known: Known
    world: World
    moments: list[Moment]

    def turns(self, skill: str, *, seed: int = 0, count: int = TURNS) -> Iterator[tuple[Moment, Turn]]:
        """Questions about frames in turn, each beside the physics of the first frame that its picture shows."""
        random = np.random.default_rng(seed)
        for index in range(count):
            turn = ASK[skill](self.known, index % len(self.moments), random)
            yield self.moments[turn.rows[0]], turn

    def top(self, moment: Moment, name: str) -> np.ndarray:
        return self.world.tops(moment.data)[self.thing(moment, name)]

    def thing(self, moment: Moment, name: str) -> int:
        return [thing_name(moment.layout, thing) for thing in range(len(moment.layout.colours))].index(name)

    def shown(self, moment: Moment, name: str) -> np.ndarray:
        """bool [H, W]: where the renderer drew this thing."""
        return moment.geom_HW == self.world.object_geoms[self.thing(moment, name)]


@cache
def seen() -> Seen:
    """Two episodes of each task family by its expert, physics kept beside the frames."""
    env, moments, columns, rows = tables(1), list[Moment](), list[dict[str, np.ndarray]](), list[tuple]()
    starts = [Start(task, state, 3) for task in FAMILIES for state in range(2)]
    for episode, start in enumerate(starts):
        observation, _ = env.reset(options={"starts": [start]})
        for step in range(env.horizon(0)):
            layout, goal, data = env.layouts[0], env.goals[0], env.data[0]
            assert layout and goal
            moments.append(Moment(copy.copy(data), layout, goal, drawn(env.camera, data), env.camera.depth(data)))
            columns.append(env.privileged(0))
            action = env.expert_action(0)
            rows.append((observation["pixels"][0], observation["agent_pos"][0], action, episode, step))
            if env.ended(0, bool(env.advance(action[None], np.ones(1, bool))[0])):
                break
            observation = env.observe()
    env.close()
    image, state, action, episode, step = (np.stack(column) for column in zip(*rows, strict=True))
    said = [moment.goal.instruction for moment in moments]
    tasks = tuple(dict.fromkeys(said))
    extra = {name: np.stack([row[name] for row in columns]) for name in PRIVILEGED_NAMES}
    numbers = np.array([tasks.index(one) for one in said])
    frames = Frames(image, state, action, episode, step, numbers, tasks, extra, PRIVILEGED_NAMES)
    return Seen(Known(frames, read_scenes(frames), place, located_levels), env.world, moments)


def drawn(camera: Camera, data: Any) -> np.ndarray:
    """[H, W]: the number of the geom that the renderer drew at each pixel, and -1 where there is none."""
    flags = camera.scene.flags
    flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 1
    painted_HW3 = camera.frame(data).astype(int)
    flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 0
    geom_HW = np.full(painted_HW3.shape[:2], -1)
    for geom in camera.scene.geoms[: camera.scene.ngeom]:
        geom_HW[painted_HW3 @ [1, 256, 65536] == geom.segid + 1] = geom.objid
    return geom_HW
