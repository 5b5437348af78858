"""The tabletop keeps Gymnasium's vector API, and an episode is a function of its start."""

from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv
from tables import RULES, tables

from workbench.benchmarks.contract import SPLIT_SEEDS, Protocol, Start
from workbench.benchmarks.rendering import RENDER_MODE
from workbench.benchmarks.tabletop.env import TabletopVectorEnv, layout_and_goal
from workbench.benchmarks.tabletop.tasks import FAMILIES

STARTS = [Start("reach", 0, 1), Start("lift", 0, 1), Start("put-on", 0, 1)]


@pytest.fixture
def env() -> Iterator[TabletopVectorEnv]:
    env = tables(len(STARTS))
    yield env
    env.close()


def still(env: TabletopVectorEnv) -> np.ndarray:
    return np.tile(np.array([0, 0, 0, 0, 0, 0, -1], np.float32), (env.num_envs, 1))


def test_it_is_a_gymnasium_vector_environment_without_autoreset(env):
    assert isinstance(env, VectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert env.action_space == gymnasium.vector.utils.batch_space(env.single_action_space, env.num_envs)
    assert env.single_action_space.shape == (len(RULES.actions),) == (7,)


def test_its_spaces_contain_what_it_observes_and_what_its_expert_does(env):
    observation, _ = env.reset(options={"starts": STARTS})
    for _ in range(4):
        assert observation in env.observation_space
        for row in range(env.num_envs):
            one = {name: value[row] for name, value in observation.items()}
            assert one in env.single_observation_space
            assert env.expert_action(row).astype(np.float32) in env.single_action_space
        observation, *_ = env.step(np.stack([env.expert_action(row) for row in range(env.num_envs)]))
    assert env.step(env.action_space.sample())[0] in env.observation_space


def test_a_step_returns_one_value_a_row_of_the_promised_types(env):
    env.reset(options={"starts": STARTS})
    _, reward, terminated, truncated, info = env.step(still(env))
    for values, kind in ((reward, np.float64), (terminated, bool), (truncated, bool), (info["is_success"], bool)):
        assert values.shape == (env.num_envs,) and values.dtype == kind
    assert info["progress"].shape == (env.num_envs,)
    assert [len(info["task_description"]), info["task_description"][0].split()[0]] == [3, "reach"]


def test_a_row_is_truncated_at_its_horizon_and_not_reset_by_itself(env):
    env.reset(options={"starts": STARTS})
    before = env.observe()["pixels"].copy()
    for step in range(1, RULES.horizons["reach"] + 1):
        _, _, terminated, truncated, _ = env.step(still(env))
        assert not terminated.any()
        assert truncated[0] == (step >= RULES.horizons["reach"]) and not truncated[1:].any()
    observation, *_ = env.step(still(env))
    np.testing.assert_allclose(observation["pixels"][0].astype(int), before[0].astype(int), atol=2)
    assert env.age[0] == RULES.horizons["reach"] + 1


def test_success_terminates_and_is_said_in_info(env):
    env.reset(options={"starts": STARTS})
    for _ in range(RULES.horizons["reach"]):
        actions = np.stack([env.expert_action(row) for row in range(env.num_envs)])
        _, reward, terminated, truncated, info = env.step(actions)
        if terminated[0]:
            break
    assert terminated[0] and info["is_success"][0] and reward[0] == 1.0 and not truncated[0]
    assert info["progress"][0] == 1.0


def test_a_reset_of_some_rows_leaves_the_others_alone(env):
    env.reset(options={"starts": STARTS})
    for _ in range(3):
        env.step(np.stack([env.expert_action(row) for row in range(env.num_envs)]))
    before, ages = env.observe(), env.age.copy()
    after, info = env.reset(options={"starts": [None, Start("stack", 4, 1), None]})
    for row in (0, 2):
        np.testing.assert_array_equal(before["pixels"][row], after["pixels"][row])
        np.testing.assert_array_equal(before["agent_pos"][row], after["agent_pos"][row])
        assert env.age[row] == ages[row]
    assert info["task_description"][1].startswith("stack") and env.age[1] == 0
    assert not np.array_equal(before["pixels"][1], after["pixels"][1])


def test_an_empty_row_is_neither_stepped_nor_rendered(env):
    env.reset(options={"starts": STARTS})
    env.leave(1)
    observation, _, terminated, truncated, info = env.step(still(env))
    assert not observation["pixels"][1].any() and not terminated[1] and not truncated[1]
    assert env.age.tolist() == [1, 0, 1] and info["task_description"][1] == ""


def test_the_same_start_gives_the_same_bits_in_any_row_and_in_another_environment(env):
    def film(env: TabletopVectorEnv, row: int) -> tuple[np.ndarray, np.ndarray]:
        starts: list[Start | None] = [Start("lift", i + 50, 3) for i in range(env.num_envs)]
        starts[row] = Start("put-on", 7, 1)
        observation, _ = env.reset(options={"starts": starts})
        frames, states = [observation["pixels"][row].copy()], []
        for _ in range(12):
            actions = np.stack([env.expert_action(r) for r in range(env.num_envs)])
            observation, *_ = env.step(actions)
            frames.append(observation["pixels"][row].copy())
            states.append(env.data[row].qpos.copy())
        return np.stack(frames), np.stack(states)

    frames, states = film(env, 0)
    other = tables(2)
    try:
        again = film(other, 1)
    finally:
        other.close()
    np.testing.assert_array_equal(frames, again[0])
    np.testing.assert_array_equal(states, again[1])


def test_a_seed_without_starts_gives_reaching_episodes_and_the_same_ones_again(env):
    first, info = env.reset(seed=5)
    assert all(text.startswith("reach") for text in info["task_description"])
    np.testing.assert_array_equal(first["pixels"], env.reset(seed=5)[0]["pixels"])
    assert not np.array_equal(first["pixels"], env.reset(seed=6)[0]["pixels"])


def test_no_initial_state_of_one_split_occurs_in_another():
    seen: dict[bytes, tuple] = {}
    for split, seed in SPLIT_SEEDS.items():
        for family in FAMILIES:
            for index in range(100):
                layout, _ = layout_and_goal(Start(family, index, seed))
                key = layout.blocks_xy.tobytes() + layout.plates_xy.tobytes() + "".join(layout.colours).encode()
                assert key not in seen, (seen[key], (split, family, index))
                seen[key] = (split, family, index)
    assert len(seen) == 100 * len(FAMILIES) * len(SPLIT_SEEDS)


def test_the_protocol_states_what_is_rendered(env):
    assert Protocol().render == RENDER_MODE
    assert Protocol().camera == "front 64x64"
    assert env.reset(options={"starts": STARTS})[0]["pixels"].shape == (3, 64, 64, 3)
