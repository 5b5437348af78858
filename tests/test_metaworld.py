"""Meta-World for real: the same start is the same world, its experts solve it through our actions, a policy learns."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from workbench.benchmarks.contract import SPLIT_SEEDS, Protocol, Start
from workbench.benchmarks.env import BenchmarkEnv
from workbench.benchmarks.registry import open_env
from workbench.benchmarks.rules import rules_of
from workbench.collect import collect, open_data
from workbench.data.formats import open_any
from workbench.errors import UserError
from workbench.evaluate import play_expert
from workbench.execute import execute
from workbench.plan import Budget, Finetune, run_id
from workbench.recipes import Expert, Folder, actions_of
from workbench.record import collected_folder, open_record
from workbench.spec import Frozen, Slot, Spec
from workbench.training.imitate import ActionScale

TASKS = ("pick-place-v3", "drawer-open-v3")
PROTOCOL = Protocol(benchmark="metaworld-mt10", tasks=TASKS, initial_states=2)
RECIPE = Expert(benchmark="metaworld-mt10", tasks=TASKS, episodes=3, noise=0.0)


@pytest.fixture(scope="module")
def env() -> Iterator[BenchmarkEnv]:
    made = open_env(PROTOCOL, 2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the recipe's demonstrations lie."""
    folder = tmp_path_factory.mktemp("runs")
    collect(RECIPE, collected_folder(folder, RECIPE))
    return folder


def test_the_benchmarks_are_the_librarys_own():
    from metaworld.env_dict import ML45_V3, MT10_V3, MT50_V3

    assert rules_of("metaworld-mt10").tasks == tuple(MT10_V3)
    assert set(rules_of("metaworld-mt50").tasks) == set(MT50_V3)
    assert set(rules_of("metaworld-ml45").tasks) == set(ML45_V3["train"])
    assert set(rules_of("metaworld-ml45-test").tasks) == set(ML45_V3["test"])


def test_a_start_is_the_same_world_whatever_was_played_in_its_simulator_before(env: BenchmarkEnv):
    start = Start(TASKS[0], 1, 404)
    seen = []
    for other in (Start(TASKS[0], 0, 404), Start(TASKS[1], 0, 404)):
        env.reset(options={"starts": [other, start]})
        path = []
        for _ in range(30):
            action = np.stack([env.expert_action(row) for row in range(2)])
            observation, *_ = env.step(action)
            path.append((observation["pixels"][1], observation["agent_pos"][1]))
        seen.append(path)
    for (pixels, state), (again, same) in zip(*seen, strict=True):
        assert np.array_equal(pixels, again) and np.array_equal(state, same)


def test_other_starts_and_other_splits_are_other_worlds(env: BenchmarkEnv):
    starts = [Start(TASKS[0], 0, 404), Start(TASKS[0], 1, 404), Start(TASKS[0], 0, 202), Start(TASKS[1], 0, 404)]
    frames = [env.first_frame(start).tobytes() for start in starts]
    assert len(set(frames)) == len(starts)
    assert frames[0] == env.first_frame(starts[0]).tobytes()


def test_pictures_are_upright_and_the_hand_is_where_the_state_says(env: BenchmarkEnv):
    """The table's far edge is above its near one; moving the hand up moves what is seen of it up."""
    observation, _ = env.reset(options={"starts": [Start(TASKS[0], 0, 404), None]})
    before, height = observation["pixels"][0].astype(int), observation["agent_pos"][0, 2]
    up = np.array([[0.0, 0.0, 1.0, 0.0]] * 2)
    for _ in range(15):
        observation, *_ = env.step(up)
    after = observation["pixels"][0].astype(int)
    changed = np.abs(after - before).sum(-1) > 60
    arm = (before[..., 0] > 1.6 * before[..., 1]) & changed, (after[..., 0] > 1.6 * after[..., 1]) & changed
    assert observation["agent_pos"][0, 2] > height + 0.05
    assert np.nonzero(arm[1])[0].mean() < np.nonzero(arm[0])[0].mean()


def test_the_render_mode_changes_the_picture_and_the_manifest():
    official = PROTOCOL.model_copy(update={"render": "official"})
    assert official.manifest_digest() != PROTOCOL.manifest_digest()
    frames = []
    for protocol in (PROTOCOL, official):
        made = open_env(protocol, 1)
        frames.append(made.first_frame(Start(TASKS[1], 0, 404)).astype(int))
        made.close()
    assert np.abs(frames[0] - frames[1]).mean() > 1


@pytest.mark.slow
def test_the_expert_through_the_whole_action_pipeline_is_as_good_as_the_expert(root: Path, env: BenchmarkEnv):
    """Normalised, given to the policy's space, and back: signs, scales and the fingers' effort survive."""
    won = [one.outcome.success for one in play_expert(PROTOCOL)]
    scale = ActionScale(open_data(root, RECIPE).statistics["action"], binary_gripper=False)
    again = []
    for start in PROTOCOL.manifest():
        env.reset(options={"starts": [start, None]})
        success = False
        while not env.ended(0, success):
            arm = scale.to_policy(env.expert_action(0)[None, None])
            action = np.tile(scale.to_world(arm, None)[0], (2, 1))
            success = bool(env.advance(action, np.array([True, False]))[0])
        again.append(success)
    assert all(won) and again == won


@pytest.mark.slow
def test_demonstrations_become_a_dataset_and_a_policy_is_trained_and_played(root: Path):
    dataset = open_any(collected_folder(root, RECIPE))
    assert dataset.action_names == rules_of("metaworld-mt10").actions and dataset.fps == 80
    assert len(dataset.episodes) == 6 and len({one.instruction for one in dataset.episodes}) == 2
    spec = Spec(vision=Slot(tune=Frozen()))
    protocol = PROTOCOL.model_copy(update={"initial_states": 1, "horizon": 24})
    plan = Finetune(spec=spec, data=RECIPE, budget=Budget(steps=2, batch=4, chunk=8), protocol=protocol)
    execute(plan, root)
    record = open_record(root, run_id(plan))
    assert record.error is None and record.result["episodes"] == 2
    assert {one.steps for one in record.outcomes()} == {24}
    assert len(record.result["action_statistics"]["mean"]) == 4
    assert sorted(path.suffix for path in (record.folder / "films").iterdir()) == [".mp4", ".mp4"]


def test_the_state_at_play_is_the_one_that_is_stored(root: Path, env: BenchmarkEnv):
    dataset = open_any(collected_folder(root, RECIPE))
    starts = [Start(task, state, SPLIT_SEEDS["finetune"]) for task in TASKS for state in range(RECIPE.episodes)]
    assert dataset.state_names == env.rules.state == ("x", "y", "z", "gripper")
    stored = [dataset.episode(index).state for index in range(len(starts))]
    for start, state in zip(starts, stored, strict=True):
        observation, _ = env.reset(options={"starts": [start, None]})
        assert np.array_equal(observation["agent_pos"][0], state[0])
    assert len({state[10].tobytes() for state in stored}) == len(starts)


def test_a_folder_of_its_demonstrations_says_what_its_gripper_is(root: Path):
    folder = Folder(path=str(collected_folder(root, RECIPE)), gripper="continuous", actions=4)
    assert actions_of(folder) == actions_of(RECIPE) == rules_of("metaworld-mt10").action_form
    assert actions_of(folder.model_copy(update={"gripper": "binary"})) != actions_of(RECIPE)


def test_without_the_library_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "metaworld", None)
    with pytest.raises(UserError, match=r"pip install 'vla-workbench\[metaworld\]'"):
        open_env(PROTOCOL, 1)


def test_a_task_that_is_forgotten_takes_nothing_from_those_that_are_played(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workbench.benchmarks.metaworld.env.KEPT", 2)
    first, second, third = (Start(task, 0, 404) for task in (*TASKS, "reach-v3"))
    made = open_env(PROTOCOL, 2)
    made.begin([first, second])
    before = made.observe()["pixels"][1]
    made.leave(0)
    made.begin([third, None])  # the first one's camera goes
    after = made.observe()["pixels"]
    assert np.array_equal(after[1], before) and np.array_equal(after[0], made.first_frame(third))
    assert before.std() > 10 and after[0].std() > 10
    made.close()
