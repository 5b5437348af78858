"""Pairs of pictures shown backwards: what leads back is what led there undone, and is learned from pictures alone."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from workbench.actions import Actions
from workbench.backbones.contract import Backbone
from workbench.backbones.registry import load_backbone
from workbench.data.contract import Frames
from workbench.data.description import Description, RotationPart, describe, to_toml
from workbench.data.statistics import Statistics
from workbench.data.undone import undone
from workbench.errors import UserError
from workbench.fingerprint import contents_of
from workbench.objectives.contract import Sizes
from workbench.objectives.facts import facts, spelled, terms
from workbench.objectives.inverse_dynamics import GAP, InverseDynamics, _check_fits
from workbench.objectives.moments import Moments, Signals
from workbench.objectives.reversal import check_undoable
from workbench.training.imitate import ActionScale

# N frames  B moments

CPU, NAME = torch.device("cpu"), "inverse-dynamics:reversed=tabletop"
TABLETOP = describe("tabletop")
EPISODES, LENGTH, SIDE = 60, 6, 4


def changed(**parts: Any) -> Description:
    return TABLETOP.model_copy(update={"action": TABLETOP.action.model_copy(update=parts)})


@cache
def embedded() -> Backbone:
    return load_backbone("embedded", weights="random", seed=0)


def planted(seed: int, *, permuted: bool = False) -> Moments:
    """A point in a box, whose three coordinates are the brightness of the picture's channels.

    It goes where the action says, 0.1 of the box for 1.0. The gripper is drawn. With `permuted`, actions are others'.
    """
    random = np.random.default_rng(seed)
    action = np.zeros((EPISODES, LENGTH, 7), np.float32)
    action[..., :3] = random.uniform(-1, 1, (EPISODES, LENGTH, 3))
    action[..., 6] = random.choice([-1.0, 1.0], (EPISODES, LENGTH))
    place = 0.5 + 0.08 * np.concatenate([np.zeros((EPISODES, 1, 3)), action[:, :-1, :3].cumsum(axis=1)], axis=1)
    image = np.broadcast_to((255 * place.clip(0, 1))[:, :, None, None], (EPISODES, LENGTH, SIDE, SIDE, 3))
    flat = action.reshape(-1, 7)
    frames = Frames(
        image=image.reshape(-1, SIDE, SIDE, 3).round().astype(np.uint8),
        state=np.zeros((len(flat), 4), np.float32),
        action=flat[random.permutation(len(flat))] if permuted else flat,
        episode=np.arange(EPISODES).repeat(LENGTH),
        step=np.tile(np.arange(LENGTH), EPISODES),
        task_index=np.zeros(len(flat), np.int64),
        tasks=("go",),
    )
    scale = ActionScale(Statistics.from_values(flat))
    return Moments(frames, scale, state=Statistics.from_values(random.normal(size=(9, 4))), backbone=embedded())


class Brightness(nn.Module):
    """One token: the picture's mean colour around mid-grey, which shows where the point is."""

    def forward(self, image_BHWC: Tensor) -> Tensor:
        return 8 * (image_BHWC.float().mean(dim=(1, 2)) / 255 - 0.5)[:, None]


POLICY: Any = SimpleNamespace(vision=Brightness())


def every(moments: Moments) -> Signals:
    rows = torch.arange(len(moments.image))
    return Signals(moments, rows, CPU, tuple(rows.tolist()))


def objective(*, seed: int = 0, description: Description | None = TABLETOP) -> InverseDynamics:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return InverseDynamics(Sizes(1, 3, state=4, actions=Actions(), chunk=4), description)


def learned(moments: Moments) -> InverseDynamics:
    made = objective()
    optimiser = torch.optim.AdamW(made.parameters(), lr=1e-2)
    for _, signals in zip(range(80), moments.batches(64, seed=0, device=CPU), strict=False):
        optimiser.zero_grad()
        torch.stack(list(made.loss(POLICY, signals).values())).sum().backward()
        optimiser.step()
    return made


def test_what_leads_back_holds_in_episodes_that_were_not_seen_and_not_where_actions_are_permuted():
    """Against the best constant, which is the median of what moves the arm: 0."""
    held_out = every(planted(1))
    right, wrong = learned(planted(0)), learned(planted(0, permuted=True))
    with torch.no_grad():
        found, destroyed = (float(made.loss(POLICY, held_out)["undone"]) for made in (right, wrong))
    back_BKA = held_out.backwards(GAP, lambda action: -action)
    shown_BK = held_out.left_B[:, None] > torch.arange(GAP)
    trivial = float((back_BKA[..., :6].abs().mean(dim=-1) * shown_BK).sum() / shown_BK.sum())
    print(f"trivial {trivial:.3f} held out {found:.3f} permuted {destroyed:.3f}")
    assert found < 0.8 * trivial and destroyed > 0.96 * trivial


def test_the_way_back_begins_with_the_last_action_that_a_picture_shows():
    moments = planted(0)
    back_BKA = every(moments).backwards(GAP, lambda action: -action)
    wanted = moments.scale.to_policy(-moments.frames.action)
    last = LENGTH - 1
    asked = {0: [1, 0], last - 2: [last - 1, last - 2], last - 1: [last - 1], LENGTH: [LENGTH + 1, LENGTH]}
    for row, rows in asked.items():
        np.testing.assert_array_equal(back_BKA[row, : len(rows)].numpy(), wanted[rows])


def test_forwards_is_as_it_was_and_the_gripper_is_asked_for_forwards_alone():
    signals, plain, both = every(planted(0)), objective(description=None), objective()
    with torch.no_grad():
        forwards, errors = plain.loss(POLICY, signals), dict(both.loss(POLICY, signals))
        assert set(forwards) == {"arm", "gripper"}
        assert all(torch.equal(forwards[name], errors[name]) for name in forwards)
        other = every(planted(0))
        other.source.frames.action[:, 6] *= -1
        assert torch.equal(errors["undone"], both.loss(POLICY, other)["undone"])


@pytest.mark.parametrize("form", ["axis-angle", "euler-xyz", "quaternion-wxyz"])
def test_a_motion_and_what_undoes_it_lead_back_to_where_they_began(form: Any):
    random, width = np.random.default_rng(0), 4 if form == "quaternion-wxyz" else 3
    turned = Rotation.from_rotvec(random.uniform(-1, 1, (5, 3)))
    match form:
        case "axis-angle":
            numbers = turned.as_rotvec() / 0.5
        case "euler-xyz":
            numbers = turned.as_euler("xyz") / 0.5
        case _:
            numbers = turned.as_quat(scalar_first=True)
    unit = None if width == 4 else 0.5
    rotation = RotationPart(
        dimensions=tuple(range(3, 3 + width)), means="delta", frame="base", form=form, unit_rad=unit
    )
    grip = {"dimension": 3 + width}
    assert TABLETOP.action.gripper is not None
    gripper = TABLETOP.action.gripper.model_copy(update=grip)
    described = changed(rotation=rotation, width=4 + width, gripper=gripper)
    action = np.concatenate([random.normal(size=(5, 3)), numbers, np.ones((5, 1))], axis=1).astype(np.float32)
    back = undone(action, described)
    np.testing.assert_array_equal(back[:, :3], -action[:, :3])
    np.testing.assert_array_equal(back[:, -1], action[:, -1])
    told = back[:, 3 : 3 + width] * (unit or 1)
    again = (
        Rotation.from_quat(told, scalar_first=True)
        if width == 4
        else Rotation.from_rotvec(told)
        if form == "axis-angle"
        else Rotation.from_euler("xyz", told)
    )
    assert (again * turned).magnitude().max() < 1e-5


def test_differences_of_angles_are_negated():
    action = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    np.testing.assert_array_equal(undone(action, describe("bridge"))[:, :6], -action[:, :6])


def _translation(**more: Any) -> Description:
    assert TABLETOP.action.translation is not None
    return changed(translation=TABLETOP.action.translation.model_copy(update=more))


@pytest.mark.parametrize(
    ("description", "said"),
    [
        (_translation(means="absolute"), "has actions that are places to go to"),
        (_translation(frame="end-effector"), "moves along the hand's own axes"),
        (changed(other={"joints, rad": (3,)}), "says of joints, rad only that they are there"),
        (changed(translation=None, rotation=None), "says nothing of how actions move the arm"),
    ],
)
def test_actions_that_cannot_be_undone_are_refused_with_the_reason(description: Description, said: str, tmp_path: Path):
    with pytest.raises(UserError, match=f"Actions of 'tabletop' cannot be undone: it {said}"):
        check_undoable(description)


@pytest.mark.parametrize(
    ("description", "actions", "said"),
    [
        ("metaworld", Actions(), "describes actions of 4 numbers, its gripper last, and these demonstrations' are 7"),
        ("tabletop", Actions(4), "describes actions of 7 numbers"),
    ],
)
def test_a_description_of_other_actions_is_refused(description: str, actions: Actions, said: str):
    with pytest.raises(UserError, match=said):
        _check_fits(describe(description), actions)


def test_the_choice_names_a_description_and_a_file_by_its_content(tmp_path: Path):
    assert spelled("inverse-dynamics: reversed = tabletop + state") == f"{NAME} + state"
    assert spelled("inverse-dynamics") == "inverse-dynamics" and facts(NAME) == facts("inverse-dynamics")
    file = tmp_path / "mine.toml"
    file.write_text(to_toml(TABLETOP))
    named = f"inverse-dynamics:reversed={file}"
    assert terms(named)[0].path == str(file) and list(contents_of(named)) == [str(file)]
    assert terms(NAME)[0].path == "" and not contents_of(NAME)
    with pytest.raises(UserError, match="No description named 'tabeltop'. Did you mean 'tabletop'"):
        spelled("inverse-dynamics:reversed=tabeltop")
    with pytest.raises(UserError, match="write inverse-dynamics:reversed=DESCRIPTION"):
        spelled("inverse-dynamics:backwards")
