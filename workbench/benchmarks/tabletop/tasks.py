"""The four task families: what is asked, when it is done, and the scripted expert that does it.

Every family names an object by colour among several, so that no policy can solve it without the instruction.
The expert is a function of the visible state alone (no memory): what it does next can be read off one frame.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from workbench.benchmarks.simulator import mujoco
from workbench.benchmarks.tabletop.world import BLOCK_HALF, BLOCKS, PLATES, STEP, SUCTION, Layout, World

OVER = 0.06
"""Metres in the plane within which the tip is over a block, if no other is nearer (they lie at least 8.5 cm apart)."""
HOVER = 0.10
"""Height of the tip over the table at which the expert reaches: over the thing, not down to it."""
CLEARANCE = 0.06
"""Metres above a top at which the expert travels."""


@dataclass(frozen=True)
class Goal:
    """What one episode asks for: an object and, where the family has two, where it goes (indices, blocks first)."""

    family: str
    thing: int
    where: int | None
    instruction: str


@dataclass(frozen=True)
class Family:
    """A task family. `stages` says which of its stages are reached, the last one being success; `choice` is the block
    that the policy has settled on, and settling on another than the named one ends the episode. `phrase` is what
    demonstrations and protocol say; `paraphrases` mean the same and are in no demonstration.
    """

    draw: Callable[[np.random.Generator], tuple[int, int | None]]
    phrase: str
    paraphrases: tuple[str, ...]
    stages: Callable[[World, mujoco.MjData, "Goal"], tuple[bool, ...]]
    choice: Callable[[World, mujoco.MjData], int | None]


def thing_name(layout: Layout, index: int) -> str:
    return f"{layout.colours[index]} {'block' if index < BLOCKS else 'plate'}"


def draw_goal(family: str, layout: Layout, random: np.random.Generator) -> Goal:
    """A goal of `family` in `layout`."""
    thing, where = FAMILIES[family].draw(random)
    return Goal(family, thing, where, _said(FAMILIES[family].phrase, layout, thing, where))


def misnamed(goal: Goal, layout: Layout) -> str:
    """An instruction for the same scene and of the same family that names another block."""
    others = [block for block in range(BLOCKS) if block not in (goal.thing, goal.where)]
    return _said(FAMILIES[goal.family].phrase, layout, others[0], goal.where)


def paraphrased(goal: Goal, layout: Layout, index: int) -> str:
    """The same instruction in the family's other words, taken in turn."""
    phrases = FAMILIES[goal.family].paraphrases
    return _said(phrases[index % len(phrases)], layout, goal.thing, goal.where)


def _said(phrase: str, layout: Layout, thing: int, where: int | None) -> str:
    names = {"thing": thing_name(layout, thing), "where": "" if where is None else thing_name(layout, where)}
    return phrase.format(**names)


def _away(world: World, data: mujoco.MjData, index: int) -> tuple[float, float]:
    """Horizontal distance and height of the tip over the top of an object, metres."""
    away = world.tip(data) - world.tops(data)[index]
    return math.sqrt(away[:2].dot(away[:2])), float(away[2])


def _touched(world: World, data: mujoco.MjData, index: int) -> bool:
    across, above = _away(world, data, index)
    return across < SUCTION and above < 0.02


def _rests_over(world: World, data: mujoco.MjData) -> int | None:
    """The block over which the tip has come to rest: near it in the plane, and slower than half a step."""
    if world.speed(data) >= 0.5:
        return None
    across = np.linalg.norm(world.tops(data)[:BLOCKS, :2] - world.tip(data)[:2], axis=1)
    return int(np.argmin(across)) if across.min() < OVER else None


def _reach(world: World, data: mujoco.MjData, goal: Goal) -> tuple[bool, ...]:
    across, _ = _away(world, data, goal.thing)
    return across < 1.5 * OVER, _rests_over(world, data) == goal.thing


def _lift(world: World, data: mujoco.MjData, goal: Goal) -> tuple[bool, ...]:
    held = world.held(data) == goal.thing
    return (
        _touched(world, data, goal.thing),
        held,
        held and bool(world.tops(data)[goal.thing, 2] > 2 * BLOCK_HALF + 0.05),
    )


def _onto(world: World, data: mujoco.MjData, goal: Goal) -> tuple[bool, ...]:
    assert goal.where is not None
    tops = world.tops(data)
    across = float(np.linalg.norm(tops[goal.thing, :2] - tops[goal.where, :2]))
    gap = float(tops[goal.thing, 2] - 2 * BLOCK_HALF - tops[goal.where, 2])
    held = world.held(data) == goal.thing
    near = across < _tolerance(goal.where)
    return _touched(world, data, goal.thing), held, held and near, near and not held and abs(gap) < 0.015


def _tolerance(where: int) -> float:
    """Metres in the plane that a block may lie off the centre of what it is put on."""
    return 0.035 if where >= BLOCKS else 0.025


def _two_blocks(random: np.random.Generator) -> tuple[int, int]:
    thing, where = random.permutation(BLOCKS)[:2]
    return int(thing), int(where)


FAMILIES: dict[str, Family] = {
    "reach": Family(
        lambda r: (int(r.integers(BLOCKS)), None),
        "reach the {thing}",
        ("go to the {thing}", "move over to the {thing}"),
        _reach,
        _rests_over,
    ),
    "lift": Family(
        lambda r: (int(r.integers(BLOCKS)), None),
        "lift the {thing}",
        ("pick up the {thing}", "raise the {thing}"),
        _lift,
        World.held,
    ),
    "put-on": Family(
        lambda r: (int(r.integers(BLOCKS)), BLOCKS + int(r.integers(PLATES))),
        "put the {thing} on the {where}",
        ("place the {thing} on the {where}", "set the {thing} down on the {where}"),
        _onto,
        World.held,
    ),
    "stack": Family(
        _two_blocks,
        "stack the {thing} on the {where}",
        ("put the {thing} on top of the {where}", "pile the {thing} onto the {where}"),
        _onto,
        World.held,
    ),
}


def _toward(tip: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The displacement in units of one step, its direction kept, at most 1 along each axis."""
    move = (goal - tip) / STEP
    return move / max(1.0, float(np.abs(move).max()))


def _funnel(tip: np.ndarray, top: np.ndarray) -> np.ndarray:
    """A point over `top` whose height falls to it as the tip, with what it carries, comes closer."""
    across = float(np.linalg.norm(tip[:2] - top[:2]))
    height = float(np.clip(1.5 * (across - 0.01), 0.0, CLEARANCE))
    return np.array([top[0], top[1], top[2] + height])


def expert(world: World, data: mujoco.MjData, goal: Goal) -> np.ndarray:
    """The scripted expert's next action `[7]` in [-1, 1], from the state alone."""
    tip, tops, held = world.tip(data), world.tops(data), world.held(data)
    action = np.zeros(7)
    action[6] = -1.0
    if goal.family == "reach":
        action[:3] = _toward(tip, np.array([*tops[goal.thing, :2], HOVER]))
    elif held == goal.thing:
        action[6] = 1.0
        if goal.where is None:
            action[2] = 1.0
        else:
            carried = tops[goal.where] + [0.0, 0.0, 2 * BLOCK_HALF]
            across = float(np.linalg.norm(tip[:2] - carried[:2]))
            point = _funnel(tip, carried)
            if across > 0.04 and tip[2] < point[2] - 0.02:  # rise before crossing, or the block hits its neighbours
                point[:2] = tip[:2]
            action[:3] = _toward(tip, point)
            if across < 0.8 * _tolerance(goal.where) and tip[2] - carried[2] < 0.02:
                action[6] = -1.0
                action[:3] = [0.0, 0.0, 1.0]
    else:
        action[:3] = _toward(tip, tops[goal.thing] + [0.0, 0.0, 0.002])  # the cup may come from anywhere
        if _away(world, data, goal.thing)[0] < 1.5 * SUCTION:  # in time: no other block is in reach from there
            action[6] = 1.0
    return action
