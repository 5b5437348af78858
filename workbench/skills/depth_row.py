"""How far away each part of a row of the picture is: a depth map in words (generation, arXiv:2601.03309, §4.3)."""

import numpy as np

from workbench.skills.contract import Known, Turn
from workbench.skills.grid import ROWS, SIDE, in_cells

STEP = 0.05
"""Metres from one level to the next."""


def depth_row(known: Known, row: int, random: np.random.Generator) -> Turn:
    """Steps along the view to the nearest part of each cell.

    The empty table is as far all along a row: rows are asked for in which something stands.
    """
    near_CC = in_cells(known.scenes.depth_NSS[row]).min(axis=-1)
    levels_CC = np.round(near_CC / STEP).astype(int)
    across = np.flatnonzero(levels_CC.min(axis=1) < levels_CC.max(axis=1))
    line = int(random.choice(across if len(across) else SIDE))
    question = f"how many steps of {100 * STEP:.0f} centimetres to each of the {SIDE} cells of row {ROWS[line]}"
    return Turn(question, known.levels(levels_CC[line].tolist()), (row,))
