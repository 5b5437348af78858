"""Which of two moves brings the gripper nearer a thing: multiple choice (Robo2VLM, arXiv:2505.15517, §3)."""

import numpy as np

from workbench.skills.contract import Known, Turn, one_of

MOVES = {
    "right": (1, 0, 0),
    "left": (-1, 0, 0),
    "away": (0, 1, 0),
    "closer": (0, -1, 0),
    "up": (0, 0, 1),
    "down": (0, 0, -1),
}
LENGTH = 0.04
"""Metres that a move goes."""
CLEAR = 0.01
"""Metres that one move must end nearer than the other."""


def trajectory(known: Known, row: int, random: np.random.Generator) -> Turn:
    """A thing at which no two moves differ, since the gripper is there, is not asked for."""
    ends_C3 = known.tip(row) + LENGTH * np.array(list(MOVES.values()))
    left_MC = np.linalg.norm(known.scenes.place_NM3[row][:, None] - ends_C3, axis=-1)
    thing, better, worse = one_of(random, np.argwhere(left_MC[:, :, None] < left_MC[:, None, :] - CLEAR))
    names = list(MOVES)
    first, second = random.permutation([names[better], names[worse]])
    name = known.scenes.name(row, thing)
    return Turn(f"which move brings the gripper nearer the {name}, {first} or {second}", names[better], (row,))
