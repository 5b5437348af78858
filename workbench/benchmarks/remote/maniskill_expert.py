"""Scripted experts for `sim_maniskill.py`: they see where everything is, and go there step by step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

OPEN, CLOSED = 1.0, -1.0
ASKED = 0.1
"""Metres, and rad, that an action of 1 asks for."""
CARRIED_OUT = 0.6
"""Of what is asked: less than half is, in a step, but with 0.6 nothing swings."""
NEAR = 0.008
"""Metres from which a place counts as reached."""
ABOVE = 0.07
"""Metres over a thing from which it is approached."""
BEHIND = 0.075
"""Metres between the closed gripper and the middle of the cube that it will push."""
GRIP_STEPS = 3
"""Control steps in which the fingers close or open."""
DROP = 0.001
"""Metres that a thing falls when it is let go."""
LOWERING = 6
"""Control steps after which it is let go all the same: what touches already comes no nearer."""


def expert(task: str, env: Any) -> Iterator[np.ndarray]:
    """The actions of an episode that has just begun, without end; one is to be carried out before the next is asked."""
    scene = env.unwrapped
    if task == "push-cube":
        return _push(scene)
    if task == "stack-cube":
        return _carry(scene, scene.cubeA, scene.cubeB, 2 * float(scene.cube_half_size[2]))
    return _carry(scene, scene.obj, scene.bin, float(scene.radius + scene.block_half_size[0]))


def _push(scene: Any) -> Iterator[np.ndarray]:
    """From behind the cube straight on, through the middle of the target."""

    def behind() -> np.ndarray:
        return _place(scene.obj) - [BEHIND, 0.0, 0.0]

    while True:
        yield from _reach(scene, lambda: behind() + [0.0, 0.0, ABOVE], CLOSED)
        yield from _reach(scene, behind, CLOSED)
        while _place(scene.obj)[0] > _tool(scene)[0]:
            middle, cube = _place(scene.goal_region), _place(scene.obj)
            yield _toward(scene, np.array([middle[0], cube[1], cube[2]]), CLOSED)


def _carry(scene: Any, thing: Any, onto: Any, height: float) -> Iterator[np.ndarray]:
    """Grasp the thing, put it down `height` metres over the middle of the other, and go up; again where it is lost."""
    while True:
        yield from _reach(scene, lambda: _place(thing) + [0.0, 0.0, ABOVE], OPEN, along=thing)
        yield from _reach(scene, lambda: _place(thing), OPEN, along=thing)
        yield from _hold(scene, CLOSED)
        if not _grasped(scene, thing):
            continue
        over = _place(onto) + [0.0, 0.0, height]

        def to(rise: float, over: np.ndarray = over) -> np.ndarray:
            """Where the tool has to be for the thing to be so far over its place."""
            return _tool(scene) + over + [0.0, 0.0, rise] - _place(thing)

        yield from _reach(scene, lambda: np.array([*_tool(scene)[:2], to(ABOVE)[2]]), CLOSED)
        yield from _reach(scene, lambda: to(ABOVE), CLOSED, near=NEAR / 2)
        yield from islice(_reach(scene, lambda: to(DROP), CLOSED, near=NEAR / 4), LOWERING)
        yield from _hold(scene, OPEN)
        yield from _reach(scene, lambda: _place(onto) + [0.0, 0.0, height + ABOVE], OPEN)


def _reach(scene: Any, place: Any, grip: float, near: float = NEAR, along: Any = None) -> Iterator[np.ndarray]:
    """Steps to `place()`, metres, which may move; with the fingers along the sides of `along`, if it has any."""
    while np.linalg.norm(place() - _tool(scene)) > near or (along is not None and abs(_askew(scene, along)) > 0.1):
        yield _toward(scene, place(), grip, 0.0 if along is None else _askew(scene, along))


def _hold(scene: Any, grip: float) -> Iterator[np.ndarray]:
    for _ in range(GRIP_STEPS):
        yield _toward(scene, _tool(scene), grip)


def _toward(scene: Any, place: np.ndarray, grip: float, turn: float = 0.0) -> np.ndarray:
    action = np.zeros(7)
    action[:3] = (place - _tool(scene)) / (CARRIED_OUT * ASKED)
    action[5] = -turn / (CARRIED_OUT * ASKED)  # mani_skill 3.0.1 turns the other way round (its issue 1469)
    action[6] = grip
    return np.clip(action, -1.0, 1.0)


def _askew(scene: Any, thing: Any) -> float:
    """How far the tool has to turn about the vertical to be along the sides of a cube, rad, at most an eighth turn."""
    return (_heading(thing) - _heading(scene.agent.tcp) + np.pi / 4) % (np.pi / 2) - np.pi / 4


def _heading(thing: Any) -> float:
    w, x, y, z = thing.pose.q[0].tolist()
    return float(np.arctan2(2 * (x * y + w * z), 1 - 2 * (y * y + z * z)))


def _place(thing: Any) -> np.ndarray:
    return thing.pose.p[0].cpu().numpy().astype(float)


def _tool(scene: Any) -> np.ndarray:
    return _place(scene.agent.tcp)


def _grasped(scene: Any, thing: Any) -> bool:
    return bool(scene.agent.is_grasping(thing)[0])
