"""Which of two things is nearer the camera, and how far away one is (SpatialVLM, arXiv:2401.12168, §3)."""

import numpy as np

from workbench.scene import DEPTH_SIDE
from workbench.skills.contract import Known, Turn, one_of

CLEAR = 0.06
"""Metres: a part of the picture may show a block's edge and the table behind it."""
BIN = 5
"""Centimetres."""
WIDE, LOW = 0.12, 0.16
"""Shares of the picture beside the gripper's tip and below it: what is there or above may be hidden."""


def depth(known: Known, row: int, random: np.random.Generator) -> Turn:
    """By the depth map, along the view, where the thing is in the picture.

    A thing that the gripper may hide is asked for only where it hides all of them, and never compared.
    """
    scenes = known.scenes
    far_M = np.array([_depth(known, row, at) for at in scenes.at_NM2[row]])
    away_M2 = scenes.at_NM2[row] - scenes.tip_N2[row]
    seen_M = ~((np.abs(away_M2[:, 0]) < WIDE) & (away_M2[:, 1] < LOW))
    found = np.argwhere((far_M[:, None] < far_M[None] - CLEAR) & seen_M[:, None] & seen_M[None])
    if random.random() < 0.5 and len(found):
        near, far = (scenes.name(row, thing) for thing in one_of(random, found))
        first, second = random.permutation([near, far])
        return Turn(f"which is nearer the camera, the {first} or the {second}", f"the {near}", (row,))
    thing = int(random.choice(np.flatnonzero(seen_M) if seen_M.any() else len(seen_M)))
    question = f"how many centimetres from the camera to the {scenes.name(row, thing)}"
    return Turn(question, str(BIN * round(100 * far_M[thing] / BIN)), (row,))


def _depth(known: Known, row: int, at: np.ndarray) -> float:
    """Metres along the view to the part of the picture that these image coordinates are in."""
    x, y = np.clip((at * DEPTH_SIDE).astype(int), 0, DEPTH_SIDE - 1)
    return float(known.scenes.depth_NSS[row, y, x])
