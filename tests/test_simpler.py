"""SimplerEnv's gripper; and SimplerEnv itself, played over the line where `WORKBENCH_PYTHON_SIMPLER` has it."""

import os

import numpy as np
import pytest
from remote import adapter

from workbench.benchmarks.contract import Protocol, Start
from workbench.benchmarks.env import BenchmarkEnv
from workbench.benchmarks.registry import open_env

needs_simpler = pytest.mark.skipif(
    "WORKBENCH_PYTHON_SIMPLER" not in os.environ, reason="WORKBENCH_PYTHON_SIMPLER names no Python"
)
ONE = np.ones(1, bool)
CUBE, THERE = np.array([-0.21, 0.05, 0.885]), np.array([-0.098, 0.05, 0.885])
"""The green cube of stack-cube's initial state 5, and 12 mm behind the yellow one, since the cube slips in the hand."""
ABOVE = np.array([0, 0, 0.08])


def grips(wishes: list[bool]) -> list[float]:
    gripper = adapter("simpler").Gripper()
    return [gripper.command(opened) for opened in wishes]


def test_a_change_of_mind_moves_the_google_robots_gripper_for_fifteen_steps():
    assert grips([True] * 3 + [False] * 20 + [True] * 20) == [0] * 3 + [1] * 15 + [0] * 5 + [-1] * 15 + [0] * 5
    assert grips([False] * 20) == [0] * 20
    assert grips([True, False, False, True] + [True] * 20) == [0] + [1] * 15 + [0] * 8


@pytest.mark.slow
@needs_simpler
@pytest.mark.parametrize("benchmark", ["simpler-bridge", "simpler-fractal"])
def test_an_episode_is_the_same_bit_for_bit_whatever_was_played_before(benchmark: str):
    protocol = Protocol(benchmark=benchmark)
    starts = [Start(protocol.tasks[0], state, 0) for state in (0, 7)]
    actions_TA = np.random.default_rng(0).normal(0, [0.02] * 3 + [0.06] * 3 + [1], (12, 7))
    found = [played(protocol, order, actions_TA) for order in ([starts[0], starts[0], starts[1]], starts[::-1])]
    for name in ("pixels", "agent_pos"):
        first, again, other = (episode[name] for episode in found[0])
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(first, found[1][1][name])
        np.testing.assert_array_equal(other, found[1][0][name])


def played(protocol: Protocol, starts: list[Start], actions_TA: np.ndarray) -> list[dict[str, np.ndarray]]:
    env, episodes = open_env(protocol, 1), []
    try:
        for start in starts:
            env.begin([start])
            seen = [env.observe()]
            np.testing.assert_array_equal(env.first_frame(start), seen[0]["pixels"][0])
            for action in actions_TA:
                env.advance(action[None], ONE)
                seen.append(env.observe())
            episodes.append({name: np.stack([each[name] for each in seen]) for name in seen[0]})
    finally:
        env.close()
    return episodes


@pytest.mark.slow
@needs_simpler
def test_a_cube_that_was_stacked_counts_at_the_last_step_alone():
    env = open_env(Protocol(benchmark="simpler-bridge"), 1)
    try:
        env.begin([Start("stack-cube", 5, 0)])
        ways = [(CUBE + ABOVE, 1, 7), (CUBE, 1, 5), (CUBE, -1, 3), (CUBE + ABOVE, -1, 8), (THERE + ABOVE, -1, 10)]
        ways += [(THERE + ABOVE * 0.45, -1, 8), (THERE + ABOVE * 0.45, 1, 3), (THERE + ABOVE * 2, 1, 16)]
        solved = [success for goal, grip, steps in ways for success in reach(env, goal, grip, steps)]
    finally:
        env.close()
    assert solved == [False] * 59 + [True]


def reach(env: BenchmarkEnv, goal: np.ndarray, grip: float, steps: int) -> list[bool]:
    """Go there; the robot looks along -x of the world in which its state is told."""
    solved = []
    for _ in range(steps):
        way = np.clip(goal - env.observe()["agent_pos"][0, :3], -0.05, 0.05) * [-1, -1, 1]
        solved.append(bool(env.advance(np.concatenate([way, [0, 0, 0, grip]])[None], ONE)[0]))
    return solved
