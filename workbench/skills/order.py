"""Which of two frames of an episode came first (Robo2VLM, arXiv:2505.15517, §3).

A backbone here takes one picture, so that the two stand in it side by side, at half their width.
"""

import numpy as np

from workbench.errors import UserError
from workbench.skills.contract import Known, Turn


def order(known: Known, row: int, random: np.random.Generator) -> Turn:
    """This frame and another one of its episode; one of a longer episode, where its own has no other.

    Raises UserError where no episode has two frames.
    """
    first_N, last_N = known.frames.first_N, known.frames.last_N
    if first_N[row] == last_N[row]:
        longer = np.flatnonzero(last_N > first_N)
        if not len(longer):
            raise UserError("No episode of these demonstrations has two frames, so that none of them came first.")
        row = int(random.choice(longer))
    episode = np.arange(first_N[row], last_N[row] + 1)
    other = int(random.choice(episode[episode != row]))
    rows = (row, other) if random.random() < 0.5 else (other, row)
    answer = "left" if rows[0] < rows[1] else "right"
    return Turn(f"which came first to {known.instruction(row)}, left or right", answer, rows)
