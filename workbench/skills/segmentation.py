"""Which parts of the picture show a thing: a mask that words can say (generation, arXiv:2601.03309, §4.3)."""

import numpy as np

from workbench.skills.contract import Known, Turn
from workbench.skills.grid import SIDE, in_cells, said
from workbench.skills.visible import visible

SHARE = 0.25
"""Of what is visible of a thing that a cell must show: at least one does, since a thing is in four at the most."""


def segmentation(known: Known, row: int, random: np.random.Generator) -> Turn:
    """The cells that show a quarter or more of it, in the order of reading; a hidden thing is not asked for."""
    shown_MHW = visible(known, row)
    thing = int(random.choice(np.flatnonzero(shown_MHW.any(axis=(1, 2)))))
    pixels_CC = in_cells(shown_MHW[thing]).sum(axis=-1)
    cells = np.argwhere(pixels_CC >= SHARE * pixels_CC.sum()).tolist()
    question = f"which of {SIDE} by {SIDE} cells show the {known.scenes.name(row, thing)}"
    return Turn(question, said(cells), (row,))
