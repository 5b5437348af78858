"""A prefix that is read once, without a gradient: the same hidden states and gradients, for a fraction of the work."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from test_flops import STILL, batch_of, executed, tuned, work
from test_slots import FAMILIES, folder  # noqa: F401  # a fixture
from torch import Tensor

from workbench.build import build
from workbench.plan import Budget
from workbench.policy import Policy
from workbench.spec import SLOTS, Frozen, LastBlocks, Lora, Spec
from workbench.training.adapt import adapt
from workbench.training.flops import Work
from workbench.training.imitate import Batch, imitation_loss
from workbench.training.train import train


def opened(spec: Spec, *, once: bool) -> tuple[Policy, Batch]:
    policy, backbone = build(spec, 0, chunk=2, root=Path())
    adapt(policy, spec, seed=0)
    stands = {name: slot.tune.kind for name in SLOTS if (slot := spec.slot(name)) and name != "head"}
    assert policy.language.prefix_once == (set(stands.values()) == {"frozen"})
    policy.language.prefix_once = once
    return policy, batch_of(policy, backbone)


def read(policy: Policy, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states where a token stands, the query's gradient, the loss."""
    walk = policy(batch.image_BHWC, batch.words)
    loss = torch.stack(list(policy.head.loss(walk.hidden, batch.action_BKA, batch.padded_BK).values())).sum()
    loss.backward()
    gradient = policy.head.query_E.grad
    assert gradient is not None
    return walk.hidden.all_BLE[walk.hidden.mask_BL.bool()].detach(), gradient, loss.detach()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_reads_its_prefix_once_and_sees_the_same(folder: Callable[[str], str], family: str):  # noqa: F811
    whole, once = (read(*opened(tuned(folder(family), **STILL), once=once)) for once in (False, True))
    for before, after in zip(whole, once, strict=True):
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert whole[1].abs().max() > 1e-6  # the query is not at rest


@pytest.mark.parametrize("family", FAMILIES)
def test_so_nothing_is_wasted(folder: Callable[[str], str], family: str):  # noqa: F811
    def both(*, once: bool) -> Work:
        policy, batch = opened(tuned(folder(family), **STILL), once=once)
        return work(policy, batch)

    whole, split = both(once=False), both(once=True)
    assert whole.waste > 1.25 and 0.99 < split.waste <= 1.05
    assert whole.required == split.required  # the floor does not depend on how it is reached


@pytest.mark.parametrize(
    "tunes",
    [{"vision": LastBlocks(blocks=1)}, {"projector": None}, {"embeddings": None}, {"language": Lora(rank=2)}],
)
def test_a_prefix_with_something_trained_in_it_is_read_with_its_gradients(tunes: dict):
    chosen = {name: tune for name, tune in (STILL | tunes).items() if tune is not None}
    found = []
    for once in (False, True):
        policy, batch = opened(tuned(**chosen), once=once)
        read(policy, batch)
        found.append({name: p.grad for name, p in policy.named_parameters() if p.grad is not None})
    whole, same = found
    assert whole.keys() == same.keys() and all(torch.equal(whole[name], same[name]) for name in whole)


def test_a_policy_that_plays_reads_the_whole():
    policy, batch = opened(tuned(**STILL), once=True)
    with torch.no_grad():
        once = policy(batch.image_BHWC, batch.words).hidden.all_BLE
        policy.language.prefix_once = False
        assert torch.equal(policy(batch.image_BHWC, batch.words).hidden.all_BLE, once)


def test_a_frozen_head_leaves_nothing_to_split():
    policy, batch = opened(tuned(**STILL | {"vision": LastBlocks(blocks=1), "head": Frozen()}), once=True)
    whole = executed(policy, batch)
    policy.language.prefix_once = False
    assert executed(policy, batch) == whole


def test_twenty_steps_have_the_same_losses():
    """Within 1e-5; over hundreds of steps training itself makes much of a last bit."""
    curves = []
    for once in (False, True):
        policy, batch = opened(tuned(**STILL), once=once)

        def loss(batch: Batch, policy: Policy = policy) -> Mapping[str, Tensor]:
            return imitation_loss(policy, batch)

        budget = Budget(steps=20, batch=len(batch.image_BHWC), chunk=2, warmup_steps=0)
        curves.append([step.loss for step in train(policy, [batch] * 20, loss=loss, budget=budget)])
    whole, once = curves
    assert max(abs(a - b) for a, b in zip(whole, once, strict=True)) < 1e-5
    assert once[-1] < 0.9 * once[0]
