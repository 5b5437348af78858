"""What every injection objective keeps, whatever it teaches: one harness over the table, on real demonstrations."""

import copy
from itertools import repeat
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from workbench.build import build
from workbench.collect import collect
from workbench.data.lerobot import open_dataset
from workbench.objectives.contract import Given, Objective, Sum
from workbench.objectives.moments import Moments, Signals
from workbench.objectives.registry import build_objective
from workbench.objectives.rows import OBJECTIVES, Facts
from workbench.plan import Budget
from workbench.policy import Policy
from workbench.recipes import Expert
from workbench.spec import SLOTS, Spec
from workbench.training.imitate import ActionScale
from workbench.training.train import train

CPU = torch.device("cpu")
CHOICES = {"distillation": "random:tiny", "questions": "all"}
"""Behind the colon of those that need one."""
NAMES = [f"{name}:{CHOICES[name]}" if name in CHOICES else name for name in OBJECTIVES]


def facts_of(name: str) -> Facts:
    return OBJECTIVES[name.partition(":")[0]]


def slow(name: str) -> bool:
    """What passes the whole policy costs seconds to learn."""
    return "head" in facts_of(name).reaches


TEACHING = [
    pytest.param(name, marks=[pytest.mark.slow] if slow(name) else [])
    for name in NAMES
    if not (facts_of(name).anchor or facts_of(name).still)
]
ENOUGH, STEPS = 0.6, 150
"""The share of its first loss that a batch is learned down to, and the steps that there are for it."""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    recipe = Expert(tasks=("reach", "lift"), episodes=3, split="injection", privileged=True)
    dataset = open_dataset(collect(recipe, tmp_path_factory.mktemp("all") / "data"))
    policy, backbone = build(Spec(), 0, chunk=4, root=Path())
    scale, state = ActionScale(dataset.statistics["action"]), dataset.statistics["observation.state"]
    frames = dataset.frames(range(len(dataset.episodes)))
    return Given(policy, backbone, Moments(frames, scale, state=state, backbone=backbone), 4)


@pytest.fixture
def own(given: Given) -> Given:
    """With a policy that the test may move; it shares weights with the backbone's head over the vocabulary."""
    policy, backbone = copy.deepcopy((given.policy, given.backbone))
    return Given(policy, backbone, given.moments, given.chunk)


def made(name: str, given: Given, *, seed: int = 0) -> Objective:
    """The objective; an anchor, which is refused alone, is taken out of a sum."""
    if not facts_of(name).anchor:
        return build_objective(name, given, seed=seed)
    total = build_objective(f"state + {name}", given, seed=seed)
    assert isinstance(total, Sum)
    part = total.parts[1]
    assert isinstance(part, Objective)
    return part


def batch(given: Given, size: int) -> Signals:
    return next(given.moments.batches(size, seed=0, device=CPU))


def loss_of(objective: Objective, policy: Policy, signals: Signals) -> Tensor:
    """The same draws at every call: masks, views, questions."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = objective.loss(policy, signals)
    assert parts and all(part.shape == () for part in parts.values())
    return torch.stack(list(parts.values())).sum()


def moved(policy: Policy) -> Policy:
    """An encoder that is not where it was: only there does what holds it have a gradient."""
    with torch.no_grad():
        for parameter in policy.vision.parameters():
            parameter.mul_(1.01)
    return policy


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_finite_and_its_gradient_reaches_the_slots_that_the_facts_name_alone(name: str, own: Given):
    objective = made(name, own)
    total = loss_of(objective, moved(own.policy), batch(own, 8))
    assert torch.isfinite(total)
    total.backward()
    reached = {slot for slot in SLOTS if _any_gradient(own.policy.get_submodule(slot))}
    assert reached == (set() if facts_of(name).still else set(facts_of(name).reaches))
    gradients = [p.grad for p in [*own.policy.parameters(), *objective.parameters()] if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def _any_gradient(slot: nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.any()) for p in slot.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_loss_bit_for_bit(name: str, given: Given):
    torch.manual_seed(8)
    before = torch.random.get_rng_state()
    one, same, other = (made(name, given, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(value, same.state_dict()[key]) for key, value in one.state_dict().items())
    with torch.no_grad():
        first, again = (loss_of(objective, given.policy, batch(given, 8)) for objective in (one, same))
    assert torch.equal(first, again)
    drawn, different = dict(one.named_parameters()), dict(other.named_parameters())
    trained = [key for key, parameter in drawn.items() if parameter.requires_grad]
    assert not trained or any(not torch.equal(drawn[key], different[key]) for key in trained)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_and_its_gradient_are_finite_in_bfloat16(name: str, own: Given):
    objective = made(name, own)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = loss_of(objective, moved(own.policy), batch(own, 4))
    total.backward()
    assert torch.isfinite(total)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in own.policy.parameters())


@pytest.mark.parametrize("name", TEACHING)
def test_one_batch_is_learned(name: str, own: Given):
    """What an objective cannot learn of sixteen moments, it learns of no data."""
    objective, signals = made(name, own), batch(own, 16)
    model = nn.ModuleDict({"policy": own.policy, "objective": objective})
    budget = Budget(steps=STEPS, learning_rate=2e-3, warmup_steps=5, schedule="constant")
    steps = train(model, repeat(signals), loss=lambda b: {"all": loss_of(objective, own.policy, b)}, budget=budget)
    start = next(steps).loss
    assert any(step.loss < ENOUGH * start for step in steps)
