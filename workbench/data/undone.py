"""Actions that take back what others did, as a description says what they mean: displacements in the base's axes."""

# N actions  A their width

import numpy as np

from workbench.data.conversion import numbers, rotations
from workbench.data.description import Description


def undone(action_NA: np.ndarray, description: Description) -> np.ndarray:
    """Each action's displacement backwards, as the data set stores actions: moves negated, rotations inverted.

    The gripper stays as it is, since what it does has no opposite: what was let go has fallen.
    """
    translation, rotation = description.action.translation, description.action.rotation
    back_NA = action_NA.astype(np.float64)
    if translation:
        back_NA[:, translation.dimensions] *= -1
    if rotation and rotation.means == "difference":
        back_NA[:, rotation.dimensions] *= -1
    elif rotation:
        unit = rotation.unit_rad or 1
        turned = rotations(back_NA[:, rotation.dimensions] * unit, rotation.form)
        back_NA[:, rotation.dimensions] = numbers(turned.inv(), rotation.form) / unit
    return back_NA.astype(np.float32)


def undoes(description: Description) -> tuple[int, ...]:
    """The dimensions that say how the arm moves, and of which the opposite is known."""
    parts = (description.action.translation, description.action.rotation)
    return tuple(sorted(dimension for part in parts if part for dimension in part.dimensions))
