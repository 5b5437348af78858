"""ManiSkill itself, played over the line; skipped unless `WORKBENCH_PYTHON_MANISKILL` names a Python that has it."""

import os

import numpy as np
import pytest

from workbench.benchmarks.contract import Protocol, Start
from workbench.benchmarks.registry import open_env
from workbench.evaluate import play_expert

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "WORKBENCH_PYTHON_MANISKILL" not in os.environ, reason="WORKBENCH_PYTHON_MANISKILL names no Python"
    ),
]
PROTOCOL = Protocol(benchmark="maniskill-tabletop", initial_states=2)
STILL = np.array([0, 0, 0, 0, 0, 0, 1.0])


def test_what_the_expert_did_is_done_again_bit_for_bit_in_other_rows():
    episodes = list(play_expert(PROTOCOL))
    assert [episode.outcome.success for episode in episodes] == [True] * 6
    longest = max(len(episode.actions) for episode in episodes)
    actions_TRA = np.stack([[*episode.actions, *[STILL] * (longest - len(episode.actions))] for episode in episodes], 1)
    found = []
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]):
        env = open_env(PROTOCOL, 6)
        env.begin([PROTOCOL.manifest()[index] for index in order])
        seen, solved = [env.observe()], np.zeros(6, bool)
        for step in range(longest):
            rows = np.array([step < len(episodes[index].actions) for index in order])
            solved |= env.advance(actions_TRA[step][order], rows)
            seen.append(env.observe())
        env.close()
        assert solved.all()
        back = np.argsort(order)
        found.append({name: np.stack([each[name][back] for each in seen]) for name in seen[0]})
    for name, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][name])


def test_plus_one_opens_the_gripper_and_a_first_picture_is_what_the_episode_begins_with():
    start = Start("push-cube", 1, 404)
    env = open_env(PROTOCOL, 1)
    try:
        env.begin([start])
        np.testing.assert_array_equal(env.first_frame(start), env.observe()["pixels"][0])
        fingers = []
        for grip in (1.0, -1.0):
            for _ in range(4):
                env.advance(np.array([[0, 0, 0, 0, 0, 0, grip]]), np.ones(1, bool))
            fingers.append(env.observe()["agent_pos"][0, -2:])
    finally:
        env.close()
    assert (fingers[0] > 0.039).all() and (fingers[1] < 0.001).all()
