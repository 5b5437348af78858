"""The same episodes, played in this process and over the line by others, are the same bit for bit."""

from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np
import pytest
from processes import alive, until
from remote import TABLETOP, TINY, adapter, start, tiny

from workbench import evaluate
from workbench.benchmarks.contract import Protocol, Start
from workbench.benchmarks.env import BenchmarkEnv
from workbench.benchmarks.remote.client import RemoteEnv
from workbench.benchmarks.rules import rules_of
from workbench.benchmarks.tabletop.env import TabletopVectorEnv
from workbench.errors import UserError

ROWS = 5
PROTOCOL = Protocol(initial_states=2)
STARTS = [Start(task, 3, 7) for task in ("reach", "lift", "put-on", "stack")]


@pytest.fixture(scope="module")
def remote() -> Iterator[RemoteEnv]:
    """Five rows in three processes: two of two rows, one of one."""
    env = RemoteEnv(PROTOCOL, ROWS, TABLETOP)
    yield env
    env.close()


@pytest.fixture(scope="module")
def local() -> Iterator[TabletopVectorEnv]:
    env = TabletopVectorEnv(PROTOCOL, ROWS)
    yield env
    env.close()


def told(env: BenchmarkEnv) -> tuple:
    return env.starts, env.instructions, env.age.tolist(), env.best.tolist(), env.lost.tolist()


def test_fixed_actions_do_and_show_the_same(remote: RemoteEnv, local: TabletopVectorEnv):
    random = np.random.default_rng(0)
    starts = [*STARTS[:3], None, STARTS[3]]
    for env in (remote, local):
        env.begin(starts)
    for step in range(12):
        actions, rows = random.uniform(-1, 1, (ROWS, 7)), random.random(ROWS) < 0.7
        if step == 5:
            for env in (remote, local):
                env.leave(1)
        if step == 8:
            for env in (remote, local):
                env.begin([None, None, None, Start("lift", 9, 7), None])
        np.testing.assert_array_equal(remote.advance(actions, rows), local.advance(actions, rows))
        here, there = local.observe(), remote.observe()
        for name, values in here.items():
            assert values.dtype == there[name].dtype
            np.testing.assert_array_equal(values, there[name])
        assert told(remote) == told(local)
    pixels = remote.observe()["pixels"]
    assert local.age.tolist() != [12] * ROWS and pixels[1].max() == 0 < pixels[3].max()


def test_the_scripted_expert_plays_the_same_episodes(monkeypatch: pytest.MonkeyPatch):
    protocol = Protocol(initial_states=1, tasks=("reach", "stack"))
    here = list(evaluate.play_expert(protocol))
    monkeypatch.setattr(evaluate, "open_env", lambda protocol, count: RemoteEnv(protocol, count, TABLETOP))
    there = list(evaluate.play_expert(protocol))
    assert [one.start for one in here] == [one.start for one in there] == list(protocol.manifest())
    for one, other in zip(here, there, strict=True):
        assert replace(one.outcome, seconds=0) == replace(other.outcome, seconds=0) and one.outcome.success
        np.testing.assert_array_equal(one.actions, other.actions)


def test_what_is_seen_and_said_before_an_episode_touches_no_row(remote: RemoteEnv, local: TabletopVectorEnv):
    for env in (remote, local):
        env.begin([STARTS[0], STARTS[1], None, None, STARTS[2]])
    before, known = remote.observe(), told(remote)
    for one in STARTS:
        np.testing.assert_array_equal(remote.first_frame(one), local.first_frame(one))
        assert remote.sentence(one) == local.sentence(one)
    after = remote.observe()
    assert told(remote) == known
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name])


def test_the_expert_of_any_row_can_be_asked(remote: RemoteEnv, local: TabletopVectorEnv):
    for env in (remote, local):
        env.begin([STARTS[row % 4] for row in range(ROWS)])
    for row in range(ROWS):
        np.testing.assert_array_equal(remote.expert_action(row), local.expert_action(row))


def test_a_step_and_a_look_are_one_message_each_and_pictures_of_empty_rows_are_not_sent():
    with tiny(4) as env:
        (peer,) = env.peers
        sent, got = [], []
        ask, hear = peer.send, peer.receive
        peer.send = lambda message, **given: (sent.append(message), ask(message, **given))[1]
        peer.receive = lambda kind: (answer := hear(kind), got.append(answer))[0]
        env.begin([start(1), None, start(2), None])
        env.advance(np.zeros((4, 7)), np.ones(4, bool))
        pixels = env.observe()["pixels"]
    assert [message.kind for message in sent] == ["begin", "advance", "observe"]
    assert sent[1].arrays["rows"].tolist() == [0, 2] and sent[1].arrays["actions"].shape == (2, 7)
    assert got[2].arrays["pixels"].shape == (2, 64, 64, 3)
    assert pixels.max(axis=(1, 2, 3)).tolist() == [1, 0, 2, 0]


def test_progress_age_loss_and_a_new_instruction_come_with_each_step():
    with tiny(2) as env:
        env.begin([start(1), start(2)])
        assert env.instructions == ["do 1", "do 2"]
        env.advance(np.zeros((2, 7)), np.array([False, True]))
        assert (env.instructions, env.age.tolist(), env.best.tolist()) == (["do 1", "do 2 again"], [0, 1], [0.0, 0.1])
        env.advance(np.zeros((2, 7)), np.array([True, True]))
        assert env.lost.tolist() == [False, True] and env.best.tolist() == [0.2, 0.1]
        env.begin([None, start(5)])
        assert (env.age.tolist(), env.best.tolist(), env.lost.tolist()) == ([1, 0], [0.2, 0.0], [False, False])


def test_a_simulator_knows_the_horizon_that_is_played():
    for horizon, steps in ((None, 16), (9, 9), (99, 16)):
        env = RemoteEnv(Protocol(horizon=horizon), 1, TINY)
        assert env.sentence(start(1)) == f"do 1 in {steps} steps"
        env.close()


def test_many_rows_are_shared_among_processes_which_end_with_the_environment():
    with tiny(9) as env:
        assert len(env.peers) == 3 and env.shares == [0, 3, 6, 9]
        pids = [peer.process.pid for peer in env.peers if peer.process is not None]
        assert all(alive(pid) for pid in pids)
        env.begin([start(row) for row in range(9)])
        assert env.observe()["pixels"][:, 0, 0, 0].tolist() == list(range(9))
    assert until(lambda: not any(alive(pid) for pid in pids))


def test_what_a_simulator_has_not_is_said_as_by_any_benchmark(remote: RemoteEnv):
    with pytest.raises(UserError, match="tells nothing but what is seen"):
        remote.privileged(0)
    with tiny() as env:
        env.rules = env.rules.model_copy(update={"expert": False})
        with pytest.raises(UserError, match="has no scripted expert"):
            env.expert_action(0)


def test_wrong_and_paraphrased_instructions_are_those_of_the_rules_or_refused():
    with tiny() as env:
        env.rules = rules_of("maniskill-tabletop")
        for task in env.rules.tasks:
            begun = Start(task, 0, 1)
            given, wrong, same = adapter("maniskill").TASKS[task][1], env.misnamed(begun), env.paraphrased(begun)
            assert len({given, wrong, same}) == 3
            assert set(same.split()) & set(given.split()) <= {"the", "on"}, "no other word of the demonstrations'"
        env.rules = rules_of("calvin-abc-d")
        with pytest.raises(UserError, match="no wrong instructions"):
            env.misnamed(Start("chain", 0, 1))
        with pytest.raises(UserError, match="no paraphrases"):
            env.paraphrased(Start("chain", 0, 1))


@pytest.mark.parametrize(
    "benchmark", ["calvin-abc-d", "simpler-bridge", "simpler-fractal", "maniskill-tabletop", "libero-plus"]
)
def test_an_adapter_goes_by_the_rules_that_are_in_the_protocol_files(benchmark: str):
    rules = rules_of(benchmark)
    assert adapter(rules.world).Simulator.PLAYS[benchmark] == rules.digest()
    protocol = Protocol(benchmark=benchmark)
    assert len(protocol.manifest()) == (sum(rules.states.values()) or rules.initial_states * len(rules.tasks))
    assert asdict(protocol.manifest()[0]).keys() == {"task", "initial_state", "seed"}
