"""Which of two things is nearer to a third, and how far apart two are (SpatialVLM, arXiv:2401.12168, §3).

Sizes are not asked for: all blocks of the tabletop are as large as each other, and so are its plates.
"""

import numpy as np

from workbench.skills.contract import Known, Turn, one_of, two

CLEAR = 0.02
"""Metres that one distance must be longer than another to be asked for."""
BIN = 5
"""Centimetres."""


def distance(known: Known, row: int, random: np.random.Generator) -> Turn:
    """Distances are between the middles of upper faces, in the world and not in the picture."""
    place_M3 = known.scenes.place_NM3[row]
    apart_MM = np.linalg.norm(place_M3[:, None] - place_M3[None], axis=-1)
    nearer_MMM = apart_MM[:, :, None] < apart_MM[:, None, :] - CLEAR  # of a third, by its number first
    own_M = np.arange(len(place_M3))
    nearer_MMM[own_M, own_M] = nearer_MMM[own_M, :, own_M] = False
    found = np.argwhere(nearer_MMM)
    if random.random() < 0.5 and len(found):
        return _nearer(known, row, one_of(random, found), random)
    a, b = two(random, len(place_M3))
    names = [known.scenes.name(row, thing) for thing in (a, b)]
    return Turn(f"how many centimetres from the {names[0]} to the {names[1]}", _centimetres(apart_MM[a, b]), (row,))


def _nearer(known: Known, row: int, found: tuple[int, ...], random: np.random.Generator) -> Turn:
    third, near, far = (known.scenes.name(row, thing) for thing in found)
    first, second = random.permutation([near, far])
    return Turn(f"which is nearer to the {third}, the {first} or the {second}", f"the {near}", (row,))


def _centimetres(metres: float) -> str:
    return str(BIN * round(100 * float(metres) / BIN))
