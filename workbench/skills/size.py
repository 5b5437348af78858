"""Which of two things is larger, in the world and in the picture (SpatialVLM, arXiv:2401.12168, §3).

All blocks are as large as each other, and so are all plates. So sizes in metres are asked for of things that are named
by their colours alone, and the picture has to tell which of them is a plate; and of two blocks, or two plates, it is
asked which one takes up more of the picture.
"""

import numpy as np

from workbench.benchmarks.tabletop.world import BLOCK_HALF, PLATE_HALF, PLATE_RADIUS
from workbench.scene import COLOURS
from workbench.skills.contract import Known, Turn, one_of
from workbench.skills.visible import visible

SIZES = {"taller": {"block": BLOCK_HALF, "plate": PLATE_HALF}, "wider": {"block": BLOCK_HALF, "plate": PLATE_RADIUS}}
"""Half of it, metres."""
CLEAR = 1.25
"""How many times as much of the picture one of two things must take up to be asked for."""


def size(known: Known, row: int, random: np.random.Generator) -> Turn:
    """In metres the first, the second and neither are as frequent; in the picture the first and the second are."""
    seen_M = visible(known, row).sum(axis=(1, 2))
    found = np.argwhere(_same_kind(known) & (seen_M[:, None] > CLEAR * seen_M[None]))
    if random.random() < 0.5 and len(found):
        large, small = (known.scenes.name(row, thing) for thing in one_of(random, found))
        first, second = random.permutation([large, small])
        question = f"which takes up more of the picture, the {first} or the {second}"
        return Turn(question, f"the {large}", (row,))
    return _in_metres(known, row, random)


def _in_metres(known: Known, row: int, random: np.random.Generator) -> Turn:
    same_MM, word = _same_kind(known), str(random.choice(list(SIZES)))
    a, b = one_of(random, np.argwhere(same_MM if random.integers(3) == 0 else ~same_MM & _others(known)))
    names = [f"the {COLOURS[known.scenes.colour_NM[row, thing]]} thing" for thing in (a, b)]
    half_a, half_b = (SIZES[word][known.scenes.kinds[thing]] for thing in (a, b))
    answer = "neither" if half_a == half_b else names[0] if half_a > half_b else names[1]
    return Turn(f"which is {word}, {names[0]}, {names[1]} or neither", answer, (row,))


def _same_kind(known: Known) -> np.ndarray:
    """bool `[M, M]`: two different things of one kind."""
    kinds_M = np.array(known.scenes.kinds)
    return (kinds_M[:, None] == kinds_M[None]) & _others(known)


def _others(known: Known) -> np.ndarray:
    return ~np.eye(len(known.scenes.kinds), dtype=bool)
