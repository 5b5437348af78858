"""Where a named thing, or the gripper, is in the picture (RoboPoint, arXiv:2406.10721, §III)."""

import numpy as np

from workbench.pretraining.questions import VERBS
from workbench.skills.contract import Known, Turn


def pointing(known: Known, row: int, random: np.random.Generator) -> Turn:
    """A thing is meant by its centre on top, the gripper by its tip."""
    scenes = known.scenes
    thing = int(random.integers(len(scenes.kinds) + 1))
    name, at = (
        ("gripper", scenes.tip_N2[row])
        if thing == len(scenes.kinds)
        else (scenes.name(row, thing), scenes.at_NM2[row, thing])
    )
    verb = VERBS[random.integers(len(VERBS))]
    return Turn(f"{verb} the {name}", known.place(at), (row,))
