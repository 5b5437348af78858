"""The next step of an instruction, in words (EmbodiedGPT, arXiv:2305.15021, §3)."""

import numpy as np

from workbench.skills.contract import Known, Turn

MOVES = ("move right", "move left", "move away", "move closer", "move up", "move down")
"""Along x, y and z: forth, back."""
STILL = 0.1
"""Share of the largest action below which nothing moves."""


def planning(known: Known, row: int, random: np.random.Generator) -> Turn:
    """What the expert does next: the gripper where it changes, else the longest part of its move."""
    return Turn(f"what is the next step to {known.instruction(row)}", _step(known, row), (row,))


def _step(known: Known, row: int) -> str:
    action, closed = known.frames.action[row], known.frames.state[row, -1] > 0
    if (action[-1] > 0) != closed:
        return "open the gripper" if closed else "close the gripper"
    axis = int(np.abs(action[:3]).argmax())
    if abs(action[axis]) < STILL:
        return "stay"
    return MOVES[2 * axis + (action[axis] < 0)]
