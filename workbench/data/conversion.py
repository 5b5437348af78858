"""Actions into the house's convention and back, as a description says; and rotation forms into each other."""

# T steps  A action width  W width of a rotation form

import warnings
from typing import assert_never

import numpy as np
from scipy.spatial.transform import Rotation

from workbench.data.description import (
    WIDTHS,
    Description,
    Form,
    GripperPart,
    Layout,
    RotationPart,
    TranslationPart,
)
from workbench.errors import UserError

HOUSE_NAMES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")
"""Metres; radians of fixed-axis Euler angles x, y, z; gripper from −1 (open) to +1 (closed), closed above 0."""
NOT_A_UNIT = 1e-2
"""A quaternion whose length differs from 1 by more, or a 6D rotation with shorter or more parallel columns, is none."""


def rotations(values: np.ndarray, form: Form) -> Rotation:
    """N rotations from numbers [N, W]. Raises UserError for numbers that are no rotation of that form."""
    if values.ndim != 2 or values.shape[1] != WIDTHS[form]:
        raise UserError(f"A rotation as {form} has {WIDTHS[form]} numbers; got an array of {list(values.shape)}.")
    values = values.astype(np.float64)
    match form:
        case "euler-xyz":
            return Rotation.from_euler("xyz", values)
        case "axis-angle":
            return Rotation.from_rotvec(values)
        case "quaternion-xyzw" | "quaternion-wxyz":
            lengths_N = np.linalg.norm(values, axis=1)
            _refuse(np.abs(lengths_N - 1) > NOT_A_UNIT, values, "is no quaternion: its length is not 1")
            return Rotation.from_quat(values, scalar_first=form == "quaternion-wxyz")
        case "rotation-6d":
            return Rotation.from_matrix(_matrices(values))
        case _:
            assert_never(form)


def numbers(turned: Rotation, form: Form) -> np.ndarray:
    """float64 [N, W]. A quaternion's w is never negative; in gimbal lock (pitch of ±90°) yaw is 0."""
    match form:
        case "euler-xyz":
            with warnings.catch_warnings():
                # The angles are not unique there, the rotation is: it is what must come back.
                warnings.filterwarnings("ignore", message="Gimbal lock")
                return turned.as_euler("xyz")
        case "axis-angle":
            return turned.as_rotvec()
        case "quaternion-xyzw" | "quaternion-wxyz":
            return turned.as_quat(canonical=True, scalar_first=form == "quaternion-wxyz")
        case "rotation-6d":
            return turned.as_matrix()[:, :, :2].transpose(0, 2, 1).reshape(-1, 6)
        case _:
            assert_never(form)


def convert_rotation(values: np.ndarray, source: Form, target: Form) -> np.ndarray:
    """float64 [N, W] of `target` from [N, W] of `source`. Raises UserError as `rotations` does."""
    return numbers(rotations(values, source), target)


def house(description: Description) -> Description:
    """What `to_policy_actions` gives, described. Raises UserError where the actions cannot be converted."""
    translation, rotation, gripper = _convertible(description)
    turn = RotationPart(
        dimensions=(3, 4, 5),
        means=rotation.means if rotation else "delta",
        frame=rotation.frame if rotation else translation.frame,
        form="euler-xyz",
        unit_rad=1,
    )
    action = Layout(
        width=7,
        translation=TranslationPart(dimensions=(0, 1, 2), means="delta", frame=translation.frame, unit_m=1),
        rotation=turn,
        gripper=GripperPart(dimension=6, kind=gripper.kind, closed=1, open=-1, threshold=0),
    )
    return description.model_copy(update={"action": action, "depth": {}})


def to_policy_actions(action: np.ndarray, description: Description) -> np.ndarray:
    """float32 [T, 7] in the house's convention (`HOUSE_NAMES`) from actions [T, A] as they are stored.

    The frame stays the description's. A robot that does not turn has rotations of 0. Raises UserError where the width
    is another one, actions are absolute, the gripper is missing, or a dimension has no place in the convention.
    """
    translation, rotation, gripper = _convertible(description)
    stored = _stored(action, description.action.width, description.name)
    moved = stored[:, translation.dimensions] * translation.unit_m
    turned = np.zeros_like(moved)
    if rotation is not None:
        turned = _to_euler(stored[:, rotation.dimensions] * (rotation.unit_rad or 1), rotation)
    closed = to_closing(stored[:, gripper.dimension], gripper)
    return np.concatenate([moved, turned, closed[:, None]], axis=1).astype(np.float32)


def from_policy_actions(action: np.ndarray, description: Description) -> np.ndarray:
    """The inverse: float32 [T, A] as the data set stores them, from [T, 7]. The same errors.

    Raises UserError too where the action turns a robot that does not turn.
    """
    translation, rotation, gripper = _convertible(description)
    given = _stored(action, len(HOUSE_NAMES), "the house's convention")
    stored = np.zeros((len(given), description.action.width))
    stored[:, translation.dimensions] = given[:, :3] / translation.unit_m
    if rotation is not None:
        stored[:, rotation.dimensions] = _from_euler(given[:, 3:6], rotation) / (rotation.unit_rad or 1)
    elif given[:, 3:6].any():
        raise UserError(f"'{description.name}' has no rotation, and these actions turn. Set their rotation to 0.")
    stored[:, gripper.dimension] = from_closing(given[:, 6], gripper)
    return stored.astype(np.float32)


def to_closing(values: np.ndarray, gripper: GripperPart) -> np.ndarray:
    """The house's gripper [T] from stored values [T]: −1 is open, +1 closed.

    A binary one is +1 on the closed side of the threshold and −1 elsewhere; of a continuous one the line from open to
    closed is mapped to that from −1 to +1, and nothing is clipped.
    """
    towards = np.sign(gripper.closed - gripper.open)
    if gripper.kind == "binary":
        return np.where((values - gripper.threshold) * towards > 0, 1.0, -1.0)
    return 2 * (values - gripper.open) / (gripper.closed - gripper.open) - 1


def from_closing(values: np.ndarray, gripper: GripperPart) -> np.ndarray:
    """The inverse: what is above 0 is the stored `closed` of a binary gripper."""
    if gripper.kind == "binary":
        return np.where(values > 0, gripper.closed, gripper.open)
    return gripper.open + (values + 1) / 2 * (gripper.closed - gripper.open)


def _convertible(description: Description) -> tuple[TranslationPart, RotationPart | None, GripperPart]:
    action, name = description.action, description.name
    if action.translation is None or action.gripper is None:
        lacks = "translation" if action.translation is None else "gripper"
        raise UserError(f"The actions of '{name}' have no {lacks}, and the house's convention needs one.")
    for part, kind in ((action.translation, "positions"), (action.rotation, "orientations")):
        if part is not None and part.means == "absolute":
            raise UserError(
                f"The actions of '{name}' are absolute {kind}, and the house's convention is changes. Take the data "
                "set's relative actions where it has them, or subtract the state before."
            )
    if action.other:
        raise UserError(
            f"The actions of '{name}' have dimensions without a place in the house's convention: "
            f"{', '.join(action.other)}. Leave them out before."
        )
    return action.translation, action.rotation, action.gripper


def _stored(action: np.ndarray, width: int, name: str) -> np.ndarray:
    if action.ndim != 2 or action.shape[1] != width:
        raise UserError(
            f"Actions of {list(action.shape)} are not those of '{name}', which have {width} dimensions. "
            "Choose the description that belongs to the data."
        )
    return action.astype(np.float64)


def _to_euler(values: np.ndarray, part: RotationPart) -> np.ndarray:
    # Three angles stay three angles: through a matrix they would be wrapped, and a difference is no rotation at all.
    return values if part.form == "euler-xyz" else convert_rotation(values, part.form, "euler-xyz")


def _from_euler(angles: np.ndarray, part: RotationPart) -> np.ndarray:
    return angles if part.form == "euler-xyz" else convert_rotation(angles, "euler-xyz", part.form)


def _matrices(values: np.ndarray) -> np.ndarray:
    """[N, 3, 3] from two columns each, made orthonormal by Gram and Schmidt."""
    first, second = values[:, :3], values[:, 3:]
    length_N = np.linalg.norm(first, axis=1)
    _refuse(length_N < NOT_A_UNIT, values, "is no rotation: its first column is 0")
    first = first / length_N[:, None]
    second = second - (first * second).sum(axis=1, keepdims=True) * first
    length_N = np.linalg.norm(second, axis=1)
    _refuse(length_N < NOT_A_UNIT, values, "is no rotation: its columns are parallel")
    second = second / length_N[:, None]
    return np.stack([first, second, np.cross(first, second)], axis=2)


def _refuse(broken_N: np.ndarray, values: np.ndarray, why: str) -> None:
    if broken_N.any():
        row = int(np.argmax(broken_N))
        raise UserError(f"{np.round(values[row], 4).tolist()} in row {row} {why}.")
