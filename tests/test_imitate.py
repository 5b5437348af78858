"""Behaviour cloning: actions into the policy's space and back, batches that hold what they say, the loss as written."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from tables import RULES, tables

from workbench.backbones.contract import Backbone, Words
from workbench.benchmarks.contract import SPLIT_SEEDS, Start
from workbench.benchmarks.tabletop.tasks import FAMILIES
from workbench.build import build
from workbench.collect import collect
from workbench.data.contract import Frames
from workbench.data.lerobot import Dataset, open_dataset
from workbench.data.statistics import Statistics
from workbench.heads.chunk_mlp import GRIP_WEIGHT, ChunkHead
from workbench.policy import Policy
from workbench.recipes import Expert
from workbench.spec import Spec
from workbench.training.imitate import ActionScale, Batch, Demonstrations, imitation_loss

CHUNK = 3
EPISODES = 50


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    recipe = Expert(tasks=tuple(FAMILIES), episodes=6, noise=0.3)
    return open_dataset(collect(recipe, tmp_path_factory.mktemp("data") / "expert"))


@pytest.fixture(scope="module")
def frames(dataset: Dataset) -> Frames:
    return dataset.frames(range(len(dataset.episodes)))


@pytest.fixture(scope="module")
def scale(dataset: Dataset) -> ActionScale:
    return ActionScale(dataset.statistics["action"])


@pytest.fixture(scope="module")
def built() -> tuple[Policy, Backbone]:
    return build(Spec(), 0, chunk=CHUNK, root=Path())


@pytest.fixture(scope="module")
def demonstrations(frames: Frames, scale: ActionScale, built: tuple[Policy, Backbone]) -> Demonstrations:
    return Demonstrations(frames, scale, backbone=built[1], chunk=CHUNK)


def back_and_forth(scale: ActionScale, action: np.ndarray) -> np.ndarray:
    """An action as it would reach the world from a policy that learned it exactly."""
    learned = scale.to_policy(action)
    assert np.abs(learned).max() <= 1.0
    return scale.to_world(learned[..., :-1], learned[..., -1] > 0)


def test_actions_within_the_quantiles_come_back_as_they_were(frames, dataset, scale):
    statistics = dataset.statistics["action"]
    inside = ((frames.action >= statistics.q01) & (frames.action <= statistics.q99))[:, :6].all(axis=1)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(back_and_forth(scale, frames.action[inside]), frames.action[inside], atol=1e-5)


def test_actions_beyond_the_quantiles_come_back_at_the_quantile():
    random = np.random.default_rng(0)
    action = np.concatenate([random.uniform(-0.5, 0.5, (1000, 6)), np.ones((1000, 1))], axis=1)
    scale = ActionScale(statistics := Statistics.from_values(action))
    wild = np.array([[9.0, -9.0, 0.0, 0.0, 0.0, 0.0, 1.0]])
    np.testing.assert_allclose(back_and_forth(scale, wild)[0, :2], [statistics.q99[0], statistics.q01[1]], atol=1e-6)


def test_a_gripper_that_rarely_closes_and_an_arm_that_never_turns_keep_their_values():
    action = np.zeros((1000, 7))
    action[:, 0] = np.linspace(-1, 1, 1000)
    action[:, 6] = -1.0
    action[:3, 6] = 1.0  # less than a hundredth: q01 equals q99
    found = back_and_forth(ActionScale(Statistics.from_values(action)), action)
    np.testing.assert_array_equal(found[:, 1:], action[:, 1:])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_expert_through_the_whole_action_pipeline_is_as_good_as_the_expert(scale, family):
    env = tables(EPISODES, 8)
    solved = []
    try:
        for through in (lambda action: action, lambda action: back_and_forth(scale, action[None, None])[0, 0]):
            env.reset(options={"starts": [Start(family, i, SPLIT_SEEDS["evaluation"]) for i in range(EPISODES)]})
            done = np.zeros(EPISODES, bool)
            for _ in range(RULES.horizons[family]):
                actions = np.zeros((EPISODES, 7))
                for row in np.flatnonzero(~done):
                    actions[row] = through(env.expert_action(int(row)))
                done |= env.advance(actions, ~done)
            solved.append(done.mean())
    finally:
        env.close()
    assert solved[1] >= 0.98 and abs(solved[1] - solved[0]) <= 0.02


def test_a_batch_holds_the_frames_that_it_names(demonstrations, frames, scale, built):
    batch = next(demonstrations.batches(16, seed=3))
    rows = list(batch.frames)
    chunks = frames.chunks(CHUNK)
    np.testing.assert_array_equal(batch.image_BHWC.numpy(), frames.image[rows])
    np.testing.assert_array_equal(batch.action_BKA.numpy(), scale.to_policy(chunks.action[rows]))
    np.testing.assert_array_equal(batch.padded_BK.numpy(), chunks.padded[rows])
    for i, row in enumerate(rows):
        alone = built[1].tokenize([frames.tasks[frames.task_index[row]]])
        assert batch.words.ids_BT[i][batch.words.mask_BT[i].bool()].tolist() == alone.ids_BT[0].tolist()
    assert str(rows[0]) in repr(batch) and len(repr(batch)) < 400  # it can be named in an error


def test_batches_are_a_function_of_the_seed(demonstrations):
    drawn = [[b.frames for b in islice(demonstrations.batches(8, seed=seed), 5)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_every_frame_is_seen_once_an_epoch(demonstrations, frames):
    size, count = 7, len(frames)
    seen = [
        row for batch in islice(demonstrations.batches(size, seed=0), 2 * count // size + 1) for row in batch.frames
    ]
    for epoch in (seen[:count], seen[count : 2 * count]):
        assert sorted(epoch) == list(range(count))
    assert seen[:count] != seen[count : 2 * count]


def test_a_batch_may_be_larger_than_the_dataset(demonstrations, frames):
    assert len(next(demonstrations.batches(2 * len(frames) + 3, seed=0)).frames) == 2 * len(frames) + 3


def hand_made(backbone: Backbone) -> Batch:
    random = np.random.default_rng(1)
    padded = torch.tensor([[False, False, False], [False, True, True]])
    action = torch.from_numpy(random.uniform(-1, 1, (2, CHUNK, 7)).astype(np.float32))
    image = torch.from_numpy(random.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8))
    return Batch(image, backbone.tokenize(["reach the red block", "lift it"]), action, padded, (0, 1))


def losses(policy: Policy, batch: Batch) -> dict[str, float]:
    with torch.no_grad():
        return {name: float(part) for name, part in imitation_loss(policy, batch).items()}


def test_the_loss_is_l1_on_the_arm_and_cross_entropy_on_the_gripper(built):
    policy, backbone = built
    batch = hand_made(backbone)
    parts = losses(policy, batch)
    with torch.no_grad():
        assert isinstance(policy.head, ChunkHead)
        arm_BKA, grip_BK = policy.head(policy(batch.image_BHWC, batch.words).hidden_BE)
    arm, grip, steps = 0.0, 0.0, [(0, 0), (0, 1), (0, 2), (1, 0)]  # the steps that are not padding
    for b, k in steps:
        arm += float((arm_BKA[b, k] - batch.action_BKA[b, k, :6]).abs().sum()) / 6
        closed = 1 / (1 + np.exp(-float(grip_BK[b, k])))
        grip -= np.log(closed if batch.action_BKA[b, k, 6] > 0 else 1 - closed)
    assert parts == pytest.approx({"arm": arm / 4, "gripper": GRIP_WEIGHT * grip / 4}, rel=1e-5)


def test_what_lies_beyond_an_episodes_end_is_not_learned(built):
    policy, backbone = built
    batch = hand_made(backbone)
    before = losses(policy, batch)
    batch.action_BKA[1, 1:] = -batch.action_BKA[1, 1:]
    assert losses(policy, batch) == before
    batch.action_BKA[1, 0] = -batch.action_BKA[1, 0]
    after = losses(policy, batch)
    assert all(after[name] != before[name] for name in before)


def test_words_of_a_batch_are_the_rows_own(demonstrations):
    batch = next(demonstrations.batches(4, seed=0))
    assert isinstance(batch.words, Words)
    assert batch.words.ids_BT.shape == batch.words.mask_BT.shape == (4, demonstrations.words.ids_BT.shape[1])
