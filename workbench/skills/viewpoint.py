"""What is further left as seen from another side, and nearer the camera (VSI-Bench, arXiv:2412.14171, §3).

The benchmark has one camera that stands still, so that from where it looks has one answer. Asked for is what would be
seen from elsewhere, which the picture tells to whoever can turn it in the mind.
"""

from dataclasses import replace

import numpy as np

from workbench.benchmarks.rendering import View
from workbench.benchmarks.tabletop.world import CAMERA
from workbench.skills.contract import Known, Turn, one_of

SIDES = {"near": 0.0, "left": -90.0, "far": 180.0, "right": 90.0}
"""Where one stands at the table, in the picture's words, and how far the camera is turned around it: degrees."""
CLEAR = 0.06
"""Share of the turned picture that two things must lie apart in, across."""
CLEAR_DEPTH = 0.03
"""Metres along the view that the gripper must be nearer or farther than the thing."""


def viewpoint(known: Known, row: int, random: np.random.Generator) -> Turn:
    """Seen by the same camera, turned around the middle of the table; depth is along its view, as `depth` has it."""
    forward_3 = _forward(CAMERA)
    behind_M = (known.scenes.place_NM3[row] - known.tip(row)) @ forward_3
    near, far = np.flatnonzero(behind_M < -CLEAR_DEPTH), np.flatnonzero(behind_M > CLEAR_DEPTH)
    if random.random() < 0.5 and len(near) and len(far):
        nearer = bool(random.random() < 0.5)
        thing = known.scenes.name(row, int(random.choice(near if nearer else far)))
        first, second = random.permutation(["gripper", thing])
        question = f"which is nearer the camera, the {first} or the {second}"
        return Turn(question, f"the {thing}" if nearer else "the gripper", (row,))
    return _turned(known, row, random)


def _turned(known: Known, row: int, random: np.random.Generator) -> Turn:
    across_VM = np.stack([view_from(side).project(known.scenes.place_NM3[row])[:, 0] for side in SIDES])
    side, *pair = one_of(random, np.argwhere(across_VM[:, :, None] < across_VM[:, None, :] - CLEAR))
    left, right = (known.scenes.name(row, thing) for thing in pair)
    first, second = random.permutation([left, right])
    stood = f"seen from the {list(SIDES)[side]} side of the table"
    return Turn(f"{stood}, which is further left, the {first} or the {second}", f"the {left}", (row,))


def view_from(side: str) -> View:
    """The benchmark's camera, turned around what it looks at."""
    return replace(CAMERA, azimuth=CAMERA.azimuth + SIDES[side])


def _forward(view: View) -> np.ndarray:
    """`[3]`, of length 1."""
    azimuth, elevation = np.deg2rad(view.azimuth), np.deg2rad(view.elevation)
    return np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
