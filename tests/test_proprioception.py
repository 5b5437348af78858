"""The robot's state as one more token: what it starts from, what learns from it, and what stays as it was without."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_flops import STILL, batch_of, tuned, work
from test_slots import FAMILIES, HEADS, folder  # noqa: F401  # a fixture
from torch import Tensor

from workbench.actions import Actions
from workbench.backbones.contract import Words
from workbench.build import build
from workbench.count import trainable_parameters
from workbench.data.contract import Frames
from workbench.data.statistics import Statistics
from workbench.errors import UserError
from workbench.interventions import for_training
from workbench.plan import Inputs
from workbench.policy import Policy
from workbench.proprioception import Proprioception, proprioception_of
from workbench.spec import Slot, Spec
from workbench.training.adapt import adapt
from workbench.training.imitate import ActionScale, Batch, Demonstrations, imitation_loss
from workbench.training.pieces import Division

S = 4
FELT = Spec(proprioception=S)
STATE = np.array(
    [[0.1, 5.0, -1.0, 2.0], [0.3, 5.0, -3.0, 2.5], [0.2, 5.0, -2.0, 2.1], [0.4, 5.0, 0.0, 2.2]], np.float32
)
"""Of four moments; the second number never moves."""


def opened(spec: Spec) -> tuple[Policy, Batch]:
    policy, backbone = build(spec, 0, chunk=2, root=Path())
    adapt(policy, spec, seed=0)
    batch = batch_of(policy, backbone)
    state_BS = torch.randn(len(batch.action_BKA), S, generator=torch.Generator().manual_seed(1))
    return policy, replace(batch, state_BS=state_BS)


def gradients(policy: Policy, batch: Batch) -> dict[str, Tensor]:
    torch.manual_seed(0)  # a flow draws
    torch.stack(list(imitation_loss(policy, batch).values())).sum().backward()
    return {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("head", HEADS)
def test_the_state_is_one_token_and_its_gradient_flows(head: str):
    policy, batch = opened(FELT.with_slot("head", Slot(module=head, weights="random")))
    assert batch.image_BHWC is not None and batch.state_BS is not None
    hidden = policy(batch.image_BHWC, batch.words, batch.state_BS).hidden
    plain, _ = build(Spec(), 0, chunk=2, root=Path())
    assert hidden.all_BLE.shape[1] == plain(batch.image_BHWC, batch.words).hidden.all_BLE.shape[1] + 1
    found = gradients(policy, batch)
    for name in ("head.state_token.weight", "head.state_token.bias", "head.query_E"):
        assert found[name].abs().max() > 1e-7, name
    assert found["head.state_token.weight"].abs().max(0).values.min() > 1e-7  # each of its numbers


@pytest.mark.parametrize("changed", [{}, {"projector": Slot(module="mlp", weights="random")}])
def test_everything_else_starts_from_the_same_bits_as_without(changed: dict[str, Slot]):
    specs = (Spec.model_validate({"proprioception": width, **changed}) for width in (0, S))
    plain, felt = (build(spec, 3, chunk=2, root=Path())[0].state_dict() for spec in specs)
    new = {name: felt.pop(name) for name in ("head.state_token.weight", "head.state_token.bias")}
    assert plain.keys() == felt.keys() and all(torch.equal(plain[name], felt[name]) for name in plain)
    assert {tuple(tensor.shape) for tensor in new.values()} == {(96, S), (96,)}
    again = build(Spec.model_validate({"proprioception": S, **changed}), 4, chunk=2, root=Path())[0].state_dict()
    assert not torch.equal(again["head.state_token.weight"], new["head.state_token.weight"])


def test_the_mean_state_starts_as_the_query_and_another_one_about_as_far_from_it_as_that_is_long():
    policy, _ = build(FELT, 0, chunk=2, root=Path())
    state_BS = torch.randn(500, S, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(policy.head.suffix(torch.zeros(1, S))[0], policy.head.query_E.expand(2, -1))
        token_BE, query_BE = policy.head.suffix(state_BS).unbind(1)
    away = (token_BE - query_BE).pow(2).mean().sqrt() / query_BE.pow(2).mean().sqrt()
    assert 0.8 < float(away) < 1.25


def test_a_policy_that_needs_the_state_says_so_and_another_takes_none():
    for spec, state, said in ((FELT, None, "needs the state"), (Spec(), torch.zeros(3, S), "is given no state")):
        policy, batch = opened(spec)
        with pytest.raises(ValueError, match=said):
            imitation_loss(policy, replace(batch, state_BS=state))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_reads_the_state_before_the_query_once_or_as_a_whole(
    folder: Callable[[str], str],  # noqa: F811
    family: str,
):
    found = []
    for once in (False, True):
        policy, batch = opened(tuned(folder(family), **STILL).model_copy(update={"proprioception": S}))
        assert policy.language.prefix_once and batch.image_BHWC is not None and batch.state_BS is not None
        policy.language.prefix_once = once
        hidden = policy(batch.image_BHWC, batch.words, batch.state_BS).hidden
        moved = policy(batch.image_BHWC, batch.words, batch.state_BS + 1).hidden
        grads = gradients(policy, batch)
        assert set(grads) == {name for name, _ in policy.named_parameters() if name.startswith("head.")}
        assert (moved.query_BE - hidden.query_BE).abs().max() > 1e-5
        before = (hidden.all_BLE - moved.all_BLE)[:, :-2][hidden.mask_BL[:, :-2].bool()]
        assert before.abs().max() < 1e-5  # nothing before it has seen it
        found.append([hidden.all_BLE[hidden.mask_BL.bool()].detach(), *grads.values()])
    for whole, once in zip(*found, strict=True):
        torch.testing.assert_close(once, whole, rtol=1e-4, atol=1e-5)


def test_the_query_of_a_prefix_that_is_read_once_does_not_stand_before_the_state():
    """A suffix of two has an order: the state's own hidden state does not change with the query."""
    policy, batch = opened(tuned(**STILL).model_copy(update={"proprioception": S}))
    assert batch.image_BHWC is not None and batch.state_BS is not None
    before = policy(batch.image_BHWC, batch.words, batch.state_BS).hidden.all_BLE
    with torch.no_grad():
        policy.head.query_E += torch.randn(96, generator=torch.Generator().manual_seed(2))
    after = policy(batch.image_BHWC, batch.words, batch.state_BS).hidden.all_BLE
    torch.testing.assert_close(after[:, :-1], before[:, :-1])
    assert (after[:, -1] - before[:, -1]).abs().max() > 1e-3


def test_its_parameters_and_its_work_are_counted():
    still = {"chunk": 2, "actions": Actions()}
    plain, felt = (trainable_parameters(spec, **still) for spec in (Spec(), FELT))
    assert felt - plain == 96 * (S + 1)
    policy, batch = opened(tuned(**STILL).model_copy(update={"proprioception": S}))
    split = work(policy, batch)
    assert 0.99 < split.waste < 1.05
    policy.language.prefix_once = False
    assert work(policy, batch).required == split.required


def test_the_mean_state_is_told_as_zero_and_so_is_what_never_moved():
    felt = Proprioception(Statistics.from_values(STATE))
    told = felt.scaled(STATE)
    assert told.dtype == np.float32 and felt.width == S and (told[:, 1] == 0).all()
    np.testing.assert_allclose(told.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(told.std(0)[[0, 2, 3]], 1, atol=1e-5)
    np.testing.assert_allclose(felt.scaled(STATE[:1].mean(0)), told[0], atol=1e-6)
    assert (felt.scaled(np.array([[0.1, 900.0, -1.0, 2.0]]))[:, 1] == 0).all()  # also where it moves at play


def test_data_with_another_state_are_refused():
    statistics = Statistics.from_values(STATE)
    assert proprioception_of(Spec(), statistics, "here") is None
    with pytest.raises(UserError, match="has 4 numbers in here; the policy is given 7"):
        proprioception_of(Spec(proprioception=7), statistics, "here")


def frames() -> Frames:
    """Two episodes of two steps."""
    image, zeros = np.zeros((4, 8, 8, 3), np.uint8), np.zeros((4, 7), np.float32)
    episode, step = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    return Frames(image, STATE, zeros, episode, step, episode, ("reach the red block", "lift it"))


def trained_on(how: str) -> np.ndarray:
    felt = Proprioception(Statistics.from_values(STATE))
    inputs = Inputs.model_validate({"proprioception": how})
    return for_training(frames(), inputs, mean_colour=np.zeros(3, np.uint8), seed=0, proprioception=felt).state


def test_training_states_are_what_is_asked():
    told = Proprioception(Statistics.from_values(STATE)).scaled(STATE)
    np.testing.assert_array_equal(trained_on("given"), told)
    assert not trained_on("zero").any() and trained_on("zero").shape == STATE.shape
    np.testing.assert_array_equal(trained_on("other-episode"), told[[2, 2, 0, 0]])
    plain = for_training(frames(), Inputs(), mean_colour=np.zeros(3, np.uint8), seed=0)
    np.testing.assert_array_equal(plain.state, STATE)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return build(FELT, 0, chunk=2, root=Path())[0]


def demonstrations(*, proprioception: bool) -> Demonstrations:
    _, backbone = build(Spec(), 0, chunk=2, root=Path())
    random = np.random.default_rng(0)
    scale = ActionScale(Statistics.from_values(random.uniform(-1, 1, (50, 7))))
    return Demonstrations(frames(), scale, backbone=backbone, chunk=2, proprioception=proprioception)


def test_batches_carry_each_frames_own_state_in_pieces_and_beside_features_too(policy: Policy):
    data = demonstrations(proprioception=True)
    whole = next(data.batches(4, seed=0))
    np.testing.assert_array_equal(whole.state_BS, STATE[list(whole.frames)])
    seen = policy.vision(torch.zeros(4, 8, 8, 3, dtype=torch.uint8)).detach()
    cached = next(data.batches(4, seed=0, seen=lambda rows: seen))
    assert cached.image_BHWC is None and torch.equal(cached.state_BS, whole.state_BS)
    assert imitation_loss(policy, cached).keys() == imitation_loss(policy, whole).keys()
    division = Division(2, range(2), lambda action: ())
    pieces = next(data.divided(division, 4, seed=0)).pieces
    for piece in pieces:
        np.testing.assert_array_equal(piece.batch.state_BS, STATE[list(piece.batch.frames)])
    assert next(demonstrations(proprioception=False).batches(4, seed=0)).state_BS is None


def test_a_batch_takes_its_state_along_to_another_device():
    batch = next(demonstrations(proprioception=True).batches(4, seed=0)).to(torch.device("meta"))
    assert batch.state_BS is not None and batch.state_BS.is_meta and isinstance(batch.words, Words)
