from typing import get_args

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from workbench.data.conversion import (
    convert_rotation,
    from_closing,
    from_policy_actions,
    house,
    numbers,
    rotations,
    to_closing,
    to_policy_actions,
)
from workbench.data.description import Description, Form, GripperPart, RotationPart, describe, ready
from workbench.errors import UserError

FORMS: tuple[Form, ...] = get_args(Form)
QUARTER = np.pi / 2


def turns() -> Rotation:
    """Random rotations; none at all; half turns about every axis and a slanted one; gimbal lock, up and down."""
    half = np.pi * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0], [0.6, 0, -0.8]])
    locked = [[0.3, QUARTER, -1.2], [-2.0, -QUARTER, 0.4], [0.0, QUARTER - 1e-8, 0.7]]
    drawn = Rotation.random(200, rng=np.random.default_rng(0))
    return Rotation.concatenate(
        [drawn, Rotation.identity(1), Rotation.from_rotvec(half), Rotation.from_euler("xyz", locked)]
    )


def apart(a: Rotation, b: Rotation) -> float:
    """Largest difference between the entries of their matrices."""
    return float(np.abs(a.as_matrix() - b.as_matrix()).max())


def described(form: Form) -> Description:
    """LIBERO's, its rotations in another form."""
    width = {"euler-xyz": 3, "axis-angle": 3, "rotation-6d": 6}.get(form, 4)
    unit = 0.5 if form in ("euler-xyz", "axis-angle") else None
    libero = describe("libero")
    rotation = RotationPart(
        dimensions=tuple(range(3, 3 + width)), means="delta", frame="base", form=form, unit_rad=unit
    )
    gripper = libero.action.gripper
    assert gripper is not None
    changes = {"width": 4 + width, "rotation": rotation, "gripper": gripper.model_copy(update={"dimension": 3 + width})}
    return libero.model_copy(update={"action": libero.action.model_copy(update=changes)})


@pytest.mark.parametrize("target", FORMS)
@pytest.mark.parametrize("source", FORMS)
def test_every_form_becomes_every_other_and_comes_back_the_same_rotation(source: Form, target: Form):
    given = numbers(turns(), source)
    there = convert_rotation(given, source, target)
    assert apart(rotations(there, target), turns()) < 1e-6
    assert apart(rotations(convert_rotation(there, target, source), source), turns()) < 1e-6


def test_each_form_is_what_its_name_says():
    about_z = Rotation.from_rotvec([[0, 0, QUARTER]])
    np.testing.assert_allclose(numbers(about_z, "euler-xyz"), [[0, 0, QUARTER]], atol=1e-12)
    np.testing.assert_allclose(numbers(about_z, "axis-angle"), [[0, 0, QUARTER]], atol=1e-12)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(numbers(about_z, "quaternion-xyzw"), [[0, 0, half, half]], atol=1e-12)
    np.testing.assert_allclose(numbers(about_z, "quaternion-wxyz"), [[half, 0, 0, half]], atol=1e-12)
    np.testing.assert_allclose(numbers(about_z, "rotation-6d"), [[0, 1, 0, -1, 0, 0]], atol=1e-12)


def test_euler_angles_turn_about_fixed_axes_x_first():
    roll, pitch, yaw = 0.3, -0.8, 1.9

    def about(axis: int, angle: float) -> np.ndarray:
        return Rotation.from_rotvec(angle * np.eye(3)[axis]).as_matrix()

    expected = about(2, yaw) @ about(1, pitch) @ about(0, roll)
    np.testing.assert_allclose(rotations(np.array([[roll, pitch, yaw]]), "euler-xyz").as_matrix()[0], expected)


@pytest.mark.parametrize("form", FORMS)
def test_actions_come_back_from_the_houses_convention(form: Form):
    description, rows = described(form), len(turns())
    random = np.random.default_rng(1)
    turned = numbers(turns(), form) / (0.5 if form in ("euler-xyz", "axis-angle") else 1)
    stored = np.concatenate(
        [random.uniform(-1, 1, (rows, 3)), turned, random.choice([-1.0, 1.0], (rows, 1))], axis=1
    ).astype(np.float32)
    policy = to_policy_actions(stored, description)
    assert policy.dtype == np.float32 and policy.shape == (rows, 7)
    back = from_policy_actions(policy, description)
    assert back.dtype == np.float32 and back.shape == stored.shape
    rest = [0, 1, 2, stored.shape[1] - 1]
    np.testing.assert_allclose(back[:, rest], stored[:, rest], atol=1e-6)
    unit = 0.5 if form in ("euler-xyz", "axis-angle") else 1
    assert apart(rotations(back[:, 3:-1].astype(float) * unit, form), turns()) < 1e-6


@pytest.mark.parametrize("name", ready())
def test_every_ready_description_converts_and_comes_back(name: str):
    description = describe(name)
    random = np.random.default_rng(2)
    stored = random.uniform(-0.9, 0.9, (50, description.action.width)).astype(np.float32)
    gripper = description.action.gripper
    assert gripper is not None
    stored[:, gripper.dimension] = random.choice([gripper.open, gripper.closed], 50)
    policy = to_policy_actions(stored, description)
    np.testing.assert_array_equal(policy[:, 6] == 1, stored[:, gripper.dimension] == gripper.closed)
    np.testing.assert_allclose(from_policy_actions(policy, description), stored, atol=1e-6)
    np.testing.assert_array_equal(to_policy_actions(policy, house(description)), policy)


def test_units_are_metres_and_radians():
    action = np.array([[1, -0.5, 0, 0, 0, 1, 1]], np.float32)
    np.testing.assert_allclose(to_policy_actions(action, describe("libero")), [[0.05, -0.025, 0, 0, 0, 0.5, 1]])
    np.testing.assert_allclose(to_policy_actions(action, describe("calvin")), [[0.02, -0.01, 0, 0, 0, 0.05, -1]])
    np.testing.assert_allclose(to_policy_actions(action, describe("bridge")), [[1, -0.5, 0, 0, 0, 1, -1]])
    moved = to_policy_actions(np.array([[1, 0, 0, 0.5]], np.float32), describe("metaworld"))
    np.testing.assert_allclose(moved, [[0.01, 0, 0, 0, 0, 0, 0.5]])


@pytest.mark.parametrize(
    ("name", "closed", "open"),
    [("libero", 1, -1), ("calvin", -1, 1), ("bridge", 0, 1), ("lerobot-calvin", 0, 1), ("metaworld", 1, -1)],
)
def test_the_gripper_signs_of_the_field(name: str, closed: float, open: float):
    gripper = describe(name).action.gripper
    assert gripper is not None
    np.testing.assert_array_equal(to_closing(np.array([closed, open]), gripper), [1, -1])
    np.testing.assert_array_equal(from_closing(np.array([1, -1]), gripper), [closed, open])


def test_a_binary_gripper_is_cut_at_its_threshold_and_a_continuous_one_is_not():
    binary = GripperPart(dimension=0, kind="binary", closed=0, open=1, threshold=0.2)
    np.testing.assert_array_equal(to_closing(np.array([0.1, 0.3, 0.9]), binary), [1, -1, -1])
    continuous = binary.model_copy(update={"kind": "continuous"})
    np.testing.assert_allclose(to_closing(np.array([0.0, 0.25, 1.0, 1.5]), continuous), [1, 0.5, -1, -2])
    np.testing.assert_allclose(from_closing(np.array([1, 0.5, -1, -2]), continuous), [0.0, 0.25, 1.0, 1.5])


def test_actions_that_cannot_be_converted_are_refused():
    libero = describe("libero")
    action = np.zeros((3, 7), np.float32)
    with pytest.raises(UserError, match=r"Actions of \[3, 6\] are not those of 'libero', which have 7"):
        to_policy_actions(action[:, :6], libero)
    part = libero.action.translation
    assert part is not None
    changes = {"translation": part.model_copy(update={"means": "absolute"})}
    absolute = libero.model_copy(update={"action": libero.action.model_copy(update=changes)})
    with pytest.raises(UserError, match="absolute positions, and the house's convention is changes"):
        to_policy_actions(action, absolute)
    changes = {"gripper": None, "other": {"terminate": (6,)}}
    headless = libero.model_copy(update={"action": libero.action.model_copy(update=changes)})
    with pytest.raises(UserError, match="have no gripper"):
        house(headless)
    more = libero.model_copy(update={"action": libero.action.model_copy(update={"other": {"terminate": (7,)}})})
    with pytest.raises(UserError, match="without a place in the house's convention: terminate"):
        house(more)
    action[1, 4] = 0.1
    with pytest.raises(UserError, match="'metaworld' has no rotation, and these actions turn"):
        from_policy_actions(action, describe("metaworld"))


@pytest.mark.parametrize(
    ("form", "values", "sentence"),
    [
        ("quaternion-xyzw", [[0, 0, 0, 1], [0, 0, 0, 0]], "in row 1 is no quaternion"),
        ("rotation-6d", [[0, 0, 0, 1, 0, 0]], "in row 0 is no rotation: its first column is 0"),
        ("rotation-6d", [[1, 0, 0, 2, 0, 0]], "its columns are parallel"),
        ("axis-angle", [[0, 0, 0, 1]], "axis-angle has 3 numbers"),
    ],
)
def test_numbers_that_are_no_rotation_are_refused(form: Form, values: list, sentence: str):
    with pytest.raises(UserError, match=sentence):
        rotations(np.array(values, float), form)
