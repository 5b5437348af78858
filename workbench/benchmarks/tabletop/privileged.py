"""What the simulator knows of a frame and no policy is given: where everything is, what is meant, how far it is."""

import numpy as np

from workbench.benchmarks.rendering import Camera
from workbench.benchmarks.simulator import mujoco
from workbench.benchmarks.tabletop.world import BLOCKS, CAMERA, PLATES, Layout, World
from workbench.scene import COLOURS, DEPTH, DEPTH_SIDE, THINGS, depth_names, thing_names

KINDS = ("block",) * BLOCKS + ("plate",) * PLATES
PRIVILEGED_NAMES: dict[str, tuple[str, ...]] = {THINGS: thing_names(KINDS), DEPTH: depth_names()}
"""The columns and the names of their values."""


def privileged(world: World, data: mujoco.MjData, layout: Layout, target: int, camera: Camera) -> dict[str, np.ndarray]:
    """The columns of one frame, float32; `target` is the thing that is asked for."""
    tops = world.tops(data)
    colours = [COLOURS.index(name) for name in layout.colours]  # of the list by which they are read again
    things = np.column_stack([CAMERA.project(tops), tops, colours])
    tip = CAMERA.project(world.tip(data)[None])[0]
    edge = camera.side // DEPTH_SIDE
    depth = camera.depth(data).reshape(DEPTH_SIDE, edge, DEPTH_SIDE, edge).mean((1, 3))
    return {
        THINGS: np.concatenate([[target], tip, things.ravel()]).astype(np.float32),
        DEPTH: depth.ravel().astype(np.float32),
    }
