"""How far away each part of a row of the picture is: a depth map in words (generation, arXiv:2601.03309, §4.3)."""

import numpy as np

from workbench.skills.contract import Known, Turn
from workbench.skills.grid import ROWS, SIDE, in_cells

BIN = 5
"""Centimetres."""


def depth_map(known: Known, row: int, random: np.random.Generator) -> Turn:
    """Centimetres along the view to the nearest part of each cell.

    The empty table is as far all along a row: rows are asked for in which something stands.
    """
    near_CC = in_cells(known.scenes.depth_NSS[row]).min(axis=-1)
    told_CC = (BIN * np.round(100 * near_CC / BIN)).astype(int)
    across = np.flatnonzero(told_CC.min(axis=1) < told_CC.max(axis=1))
    line = int(random.choice(across if len(across) else SIDE))
    question = f"how many centimetres to each of the {SIDE} cells of row {ROWS[line]}"
    return Turn(question, " ".join(map(str, told_CC[line])), (row,))
