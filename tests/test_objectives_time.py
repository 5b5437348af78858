"""Objectives that read actions and time: they learn what they say, from the picture, and nothing else moves."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.collect import collect
from workbench.data.lerobot import open_dataset
from workbench.objectives.contract import Given, Objective
from workbench.objectives.facts import facts
from workbench.objectives.inverse_dynamics import GAP
from workbench.objectives.moments import Moments, Signals
from workbench.objectives.registry import build_objective
from workbench.objectives.time_contrastive import FAR, NEAR, TEMPERATURE
from workbench.plan import Budget
from workbench.policy import Policy
from workbench.recipes import Expert
from workbench.spec import SLOTS, Spec
from workbench.training.imitate import ActionScale
from workbench.training.train import train

# B moments  K steps  A action dimensions

OBJECTIVES = ("action-regression", "inverse-dynamics", "time-contrastive", "progress")
LABELS = {
    "action-regression": "actions",
    "inverse-dynamics": "actions",
    "time-contrastive": "later",
    "progress": "progress",
    "state": "state",
}
"""What is given of other moments where labels are permuted."""
STEPS = {"action-regression": 160, "inverse-dynamics": 110, "time-contrastive": 20, "progress": 60, "state": 85}
"""Of the short training after which what was learned holds elsewhere."""
CPU = torch.device("cpu")
CHUNK = 4


@dataclass(frozen=True)
class Lessons:
    """Real demonstrations and the embedded backbone. Copy the policy before it is trained."""

    policy: Policy
    backbone: Backbone
    taught: Moments
    held_out: Moments

    @property
    def given(self) -> Given:
        return Given(self.policy, self.backbone, self.taught, CHUNK)


@pytest.fixture(scope="module")
def built() -> tuple[Policy, Backbone]:
    return build(Spec(), 0, chunk=CHUNK, root=Path())


@pytest.fixture(scope="module")
def lessons(built: tuple[Policy, Backbone], tmp_path_factory: pytest.TempPathFactory) -> Lessons:
    return _lessons(built, tmp_path_factory.mktemp("few"), episodes=6)


@pytest.fixture(scope="module")
def many(built: tuple[Policy, Backbone], tmp_path_factory: pytest.TempPathFactory) -> Lessons:
    """Enough for what is learned to hold in episodes that were not seen."""
    return _lessons(built, tmp_path_factory.mktemp("many"), episodes=100)


def _lessons(built: tuple[Policy, Backbone], folder: Path, *, episodes: int) -> Lessons:
    """So many episodes a task, without noise: what is executed is what is recorded."""
    recipe = Expert(tasks=("reach", "lift"), episodes=episodes, split="injection", noise=0.0)
    other = recipe.model_copy(update={"split": "finetune", "episodes": max(2, episodes // 5)})
    taught, held_out = _moments(recipe, folder / "taught", built[1]), _moments(other, folder / "held-out", built[1])
    return Lessons(*built, taught, held_out)


def _moments(recipe: Expert, folder: Path, backbone: Backbone) -> Moments:
    dataset = open_dataset(collect(recipe, folder))
    frames, statistics = dataset.frames(range(len(dataset.episodes))), dataset.statistics
    scale = ActionScale(statistics["action"])
    return Moments(frames, scale, state=statistics["observation.state"], backbone=backbone)


def moments_at(source: Moments, rows: Tensor) -> Signals:
    return Signals(source, rows, CPU, tuple(rows.tolist()))


def batch_of(source: Moments, size: int = 32, seed: int = 0) -> Signals:
    return next(source.batches(size, seed=seed, device=CPU))


@dataclass(frozen=True)
class Permuted(Signals):
    """Moments whose actions, later pictures, progress or state are those of others in the batch."""

    labels: str
    others_B: Tensor = field(repr=False)

    def actions(self, steps: int) -> tuple[Tensor, Tensor]:
        action_BKA, padded_BK = super().actions(steps)
        return (action_BKA[self.others_B], padded_BK) if self.labels == "actions" else (action_BKA, padded_BK)

    def later_BHWC(self, steps: int) -> Tensor:
        later_BHWC = super().later_BHWC(steps)
        return later_BHWC[self.others_B] if self.labels == "later" else later_BHWC

    @property
    def progress_B(self) -> Tensor:
        progress_B = super().progress_B
        return progress_B[self.others_B] if self.labels == "progress" else progress_B

    @property
    def state_BS(self) -> Tensor:
        state_BS = super().state_BS
        return state_BS[self.others_B] if self.labels == "state" else state_BS


def permuted(batches: Iterator[Signals], labels: str, random: np.random.Generator) -> Iterator[Signals]:
    for batch in batches:
        others_B = torch.from_numpy(random.permutation(len(batch.frames)))
        yield Permuted(batch.source, batch.rows_B, batch.device, batch.frames, labels, others_B)


class Nothing(nn.Module):
    """Gives the same token for every picture."""

    def forward(self, image_BHWC: Tensor) -> Tensor:
        return torch.zeros(len(image_BHWC), 16, 96)


def blind(policy: Policy) -> Policy:
    """The policy without its encoder: what an objective learns on it is its trivial baseline, the best constant."""
    without = copy.deepcopy(policy)
    without.vision = Nothing()  # type: ignore[assignment]  # it stands in where an encoder is called
    return without


def taught(
    name: str, policy: Policy, given: Given, batches: Iterator[Signals], *, steps: int, rate: float = 1e-3
) -> Objective:
    """The objective after training on `policy`, whose encoder moved with it."""
    objective = build_objective(name, given, seed=0)
    budget = Budget(steps=steps, learning_rate=rate, warmup_steps=10)
    model = nn.ModuleDict({"policy": policy.vision, "objective": objective})
    for _ in train(model, batches, loss=lambda batch: objective.loss(policy, batch), budget=budget):
        pass
    return objective


@torch.no_grad()
def loss_of(objective: Objective, policy: Policy, *batches: Signals) -> float:
    return float(np.mean([float(sum(objective.loss(policy, batch).values())) for batch in batches]))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_overfits_one_batch(name: str, lessons: Lessons):
    batch, policy, unseeing = batch_of(lessons.taught, 24), copy.deepcopy(lessons.policy), blind(lessons.policy)
    start = loss_of(build_objective(name, lessons.given, seed=0), policy, batch)
    trivial = loss_of(taught(name, unseeing, lessons.given, repeat(batch), steps=100, rate=1e-2), unseeing, batch)
    found = loss_of(taught(name, policy, lessons.given, repeat(batch), steps=40, rate=3e-3), policy, batch)
    print(f"{name}: start {start:.3f} trivial {trivial:.3f} overfitted {found:.3f}")
    assert found < 0.6 * trivial and found < 0.6 * start


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_gradient_reaches_the_slots_that_the_facts_name_and_the_objectives_own_parameters(
    name: str, lessons: Lessons
):
    policy, objective = copy.deepcopy(lessons.policy), build_objective(name, lessons.given, seed=0)
    torch.stack(list(objective.loss(policy, batch_of(lessons.taught)).values())).sum().backward()
    reached = {slot for slot in SLOTS if any(p.grad is not None for p in policy.get_submodule(slot).parameters())}
    assert reached == set(facts(name).reaches) == {"vision"}
    assert all(p.grad is not None and p.grad.any() for p in policy.vision.parameters())
    assert all(p.grad is not None for p in objective.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_what_is_learned_holds_in_other_episodes_and_not_where_labels_are_permuted(name: str, many: Lessons):
    """Both are judged by the right labels of episodes that were not seen, against the best constant."""
    judged = [batch_of(many.held_out, 64, seed) for seed in range(3)]
    unseeing, seeing, misled = blind(many.policy), copy.deepcopy(many.policy), copy.deepcopy(many.policy)
    trivial = loss_of(taught(name, unseeing, many.given, endless(many), steps=100, rate=1e-2), unseeing, *judged)
    found = loss_of(taught(name, seeing, many.given, endless(many), steps=STEPS[name]), seeing, *judged)
    wrong = permuted(endless(many), LABELS[name], np.random.default_rng(0))
    destroyed = loss_of(taught(name, misled, many.given, wrong, steps=STEPS[name]), misled, *judged)
    print(f"{name}: trivial {trivial:.3f} held out {found:.3f} permuted {destroyed:.3f}")
    assert found < 0.93 * trivial and destroyed > 0.96 * trivial


def endless(lessons: Lessons) -> Iterator[Signals]:
    return lessons.taught.batches(32, seed=0, device=CPU)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_is_finite_at_the_end_of_episodes(name: str, lessons: Lessons):
    objective, policy = build_objective(name, lessons.given, seed=0), copy.deepcopy(lessons.policy)
    lasts = lessons.taught.last.unique()[:8]
    for rows in (lasts, lasts[:1]):
        total = torch.stack(list(objective.loss(policy, moments_at(lessons.taught, rows)).values())).sum()
        total.backward()
        assert torch.isfinite(total)
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in policy.parameters())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_nan_in_the_encoder_is_nan_in_the_loss(name: str, lessons: Lessons):
    policy = copy.deepcopy(lessons.policy)
    next(policy.vision.parameters()).data.fill_(torch.nan)
    assert np.isnan(loss_of(build_objective(name, lessons.given, seed=0), policy, batch_of(lessons.taught)))


@pytest.mark.parametrize("name", ["action-regression", "inverse-dynamics"])
def test_nan_in_an_action_is_nan_in_the_loss(name: str, lessons: Lessons):
    source = copy.copy(lessons.taught)
    source.action = torch.full_like(source.action, torch.nan)
    assert np.isnan(loss_of(build_objective(name, lessons.given, seed=0), lessons.policy, batch_of(source)))


def test_inverse_dynamics_does_not_ask_for_the_action_at_the_last_picture(lessons: Lessons):
    """Two steps before the end both actions count, one step before it the first alone."""
    objective, last = build_objective("inverse-dynamics", lessons.given, seed=0), int(lessons.taught.last[0])

    def changed(row: int, action: int) -> bool:
        source = copy.copy(lessons.taught)
        source.action = source.action.clone()
        before = loss_of(objective, lessons.policy, moments_at(source, torch.tensor([row])))
        source.action[action] = -source.action[action] + 0.5
        return before != loss_of(objective, lessons.policy, moments_at(source, torch.tensor([row])))

    assert GAP == 2 and [changed(last - 2, last - 2), changed(last - 2, last - 1)] == [True, True]
    assert [changed(last - 1, last - 1), changed(last - 1, last), changed(last, last)] == [True, False, False]


def test_an_encoder_to_which_all_pictures_look_alike_can_only_guess_which_is_near(lessons: Lessons):
    """Counted moment by moment: candidates of other episodes, and those of the same one that are FAR away."""
    batch, source = batch_of(lessons.taught, 24), lessons.taught
    counts = []
    for i in batch.frames:
        candidates = [min(j + steps, int(source.last[j])) for steps in (NEAR, FAR) for j in batch.frames]
        others = [c for c in candidates if source.first[c] != source.first[i] or abs(c - i) >= FAR]
        counts.append(1 + len(others))
    collapsed = loss_of(build_objective("time-contrastive", lessons.given, seed=0), blind(lessons.policy), batch)
    assert collapsed == pytest.approx(np.log(counts).mean(), rel=1e-5)


class Told(nn.Module):
    """The embeddings that it was given, whatever it is shown."""

    def __init__(self, embedded: Tensor) -> None:
        super().__init__()
        self.embedded = embedded

    def forward(self, seen_BND: Tensor) -> Tensor:
        return self.embedded


def test_the_temperature_is_that_of_the_cosines(lessons: Lessons):
    """Two moments of two episodes: pictures of one episode are the same, of two opposite."""
    firsts = lessons.taught.first.unique()[:2]
    batch, objective = moments_at(lessons.taught, firsts), build_objective("time-contrastive", lessons.given, seed=0)
    side = torch.tensor([[1.0], [-1.0]])
    objective.embed = Told(side.repeat(3, 1))
    right, wrong = np.exp(1 / TEMPERATURE), np.exp(-1 / TEMPERATURE)
    found = float(objective.loss(blind(lessons.policy), batch)["contrast"])
    same = [1 + int(lessons.taught.last[i] - i >= FAR) for i in firsts.tolist()]  # the positive, and the far picture
    wanted = np.mean([-np.log(right / (n * right + 2 * wrong)) for n in same])
    assert found == pytest.approx(wanted, abs=1e-5)
