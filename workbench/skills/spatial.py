"""On which side of a thing another one is, as the picture shows it (SpatialVLM, arXiv:2401.12168, §3)."""

import numpy as np

from workbench.pretraining.questions import relation
from workbench.skills.contract import Known, Turn, two


def spatial(known: Known, row: int, random: np.random.Generator) -> Turn:
    """Left, right, above, below, or two of them; "here" where one thing lies on the other."""
    scenes = known.scenes
    a, b = two(random, len(scenes.kinds))
    question = f"which side of the {scenes.name(row, b)} is the {scenes.name(row, a)}"
    return Turn(question, relation(scenes.at_NM2[row, a], scenes.at_NM2[row, b]), (row,))
