"""Which colours there are: a caption that says nothing of where anything is."""

import numpy as np

from workbench.scene import COLOURS
from workbench.skills.contract import Known, Turn


def colours(known: Known, row: int, random: np.random.Generator) -> Turn:
    """The colours of all things, each once and in alphabetical order."""
    names = sorted({COLOURS[colour] for colour in known.scenes.colour_NM[row]})
    return Turn("which colours are there", " ".join(names), (row,))
