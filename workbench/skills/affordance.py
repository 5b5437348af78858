"""Where to take hold for an instruction (RoboPoint, arXiv:2406.10721, §III)."""

import numpy as np

from workbench.skills.contract import Known, Turn


def affordance(known: Known, row: int, random: np.random.Generator) -> Turn:
    """The middle of the upper face of the thing that is meant, not of the one that it goes to."""
    target = known.scenes.target_N[row]
    question = f"where to grasp to {known.instruction(row)}"
    return Turn(question, known.place(known.scenes.at_NM2[row, target]), (row,))
