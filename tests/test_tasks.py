"""The four task families: the expert solves them, and nobody does without being told which object is meant."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from tables import RULES, tables

from workbench.benchmarks.contract import SPLIT_SEEDS, Start
from workbench.benchmarks.tabletop.env import TabletopVectorEnv, layout_and_goal
from workbench.benchmarks.tabletop.tasks import FAMILIES, expert
from workbench.benchmarks.tabletop.world import BLOCKS, COLOURS, PLATES
from workbench.errors import UserError

EPISODES = 60
CHOICES = {"reach": BLOCKS, "lift": BLOCKS, "put-on": BLOCKS * PLATES, "stack": BLOCKS * (BLOCKS - 1)}
"""How many different instructions one layout admits."""


@pytest.fixture(scope="module")
def env() -> Iterator[TabletopVectorEnv]:
    env = tables(EPISODES, 8)
    yield env
    env.close()


def successes(
    env: TabletopVectorEnv, family: str, act: Callable[[int], np.ndarray], *, count: int = EPISODES
) -> np.ndarray:
    """Which of the first `count` held-out episodes `act(row)` solves within the horizon; physics only, no pictures."""
    starts = [Start(family, i, SPLIT_SEEDS["evaluation"]) if i < count else None for i in range(EPISODES)]
    env.reset(options={"starts": starts})
    done = np.zeros(EPISODES, bool)
    for _ in range(RULES.horizons[family]):
        playing = ~done & ~env.lost & (np.arange(EPISODES) < count)
        actions = np.zeros((EPISODES, 7))
        for row in np.flatnonzero(playing):
            actions[row] = act(int(row))
        done |= env.advance(actions, playing)
    return done[:count]


def test_the_families_are_those_that_the_protocol_knows():
    assert tuple(FAMILIES) == RULES.tasks and len(FAMILIES) >= 4


@pytest.mark.parametrize("family", FAMILIES)
def test_the_expert_solves_at_least_98_percent_of_held_out_layouts(env, family):
    assert successes(env, family, env.expert_action).mean() >= 0.98


@pytest.mark.parametrize("family", FAMILIES)
def test_without_the_instruction_the_same_expert_is_at_chance(env, family):
    """Each object (or pair) in turn is taken for the one that is meant, whatever was asked."""
    wheres = {"put-on": range(BLOCKS, BLOCKS + PLATES), "stack": range(BLOCKS)}.get(family, [None])
    pairs = [(thing, where) for where in wheres for thing in range(BLOCKS) if thing != where]
    assert len(pairs) == CHOICES[family]

    def blind(thing: int, where: int | None) -> Callable[[int], np.ndarray]:
        def act(row: int) -> np.ndarray:
            goal, data = env.goals[row], env.data[row]
            assert goal is not None and data is not None
            return expert(env.world, data, replace(goal, thing=thing, where=where))

        return act

    solved = np.stack([successes(env, family, blind(*pair), count=60 if len(pairs) < 6 else 12) for pair in pairs])
    assert solved.mean() <= 1 / len(pairs) + 0.05  # some pass over the right thing on the way to another
    assert solved.mean(axis=1).max() <= 0.6  # no fixed choice is a good one


@pytest.mark.parametrize("family", ["reach", "lift"])
def test_trying_one_block_after_another_does_not_help(env, family):
    """Settling on a wrong block ends the episode: a tour that ignores the words is at chance."""
    age = np.zeros(EPISODES, int)

    def tour(row: int) -> np.ndarray:
        goal, data = env.goals[row], env.data[row]
        assert goal is not None and data is not None
        age[row] += 1
        return expert(env.world, data, replace(goal, thing=min(age[row] // 6, BLOCKS - 1)))

    assert successes(env, family, tour).mean() <= 1 / BLOCKS + 0.15


@pytest.mark.parametrize("family", FAMILIES)
def test_standing_still_solves_nothing(env, family):
    assert not successes(env, family, lambda row: np.array([0, 0, 0, 0, 0, 0, -1.0])).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_progress_rises_with_the_stages_and_ends_at_one(env, family):
    env.reset(options={"starts": [Start(family, 3, SPLIT_SEEDS["evaluation"])] + [None] * (EPISODES - 1)})
    alone, seen = np.arange(EPISODES) == 0, [0.0]
    for _ in range(RULES.horizons[family]):
        done = env.advance(np.tile(env.expert_action(0), (EPISODES, 1)), alone)
        seen.append(float(env.best[0]))
        if done[0]:
            break
    assert seen == sorted(seen) and seen[-1] == 1.0
    goal, data = env.goals[0], env.data[0]
    assert goal is not None and data is not None
    stages = len(FAMILIES[family].stages(env.world, data, goal))
    assert set(seen) <= {reached / stages for reached in range(stages + 1)}
    assert len(set(seen)) >= stages  # most stages are seen one by one


def test_the_expert_is_a_function_of_the_state_alone(env):
    start = Start("put-on", 0, SPLIT_SEEDS["evaluation"])
    env.reset(options={"starts": [start, start] + [None] * (EPISODES - 2)})
    both = np.arange(EPISODES) < 2
    for _ in range(6):
        first = env.expert_action(0)
        np.testing.assert_array_equal(first, env.expert_action(0))
        np.testing.assert_array_equal(first, env.expert_action(1))
        assert np.abs(first).max() <= 1.0
        env.advance(np.tile(first, (EPISODES, 1)), both)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_instruction_names_the_objects_of_its_goal_by_their_colours(family):
    kind = ["block"] * BLOCKS + ["plate"] * PLATES
    for index in range(30):
        layout, goal = layout_and_goal(Start(family, index, 9))
        named = [goal.thing] if goal.where is None else [goal.thing, goal.where]
        assert goal.thing != goal.where
        for thing in named:
            assert f"{layout.colours[thing]} {kind[thing]}" in goal.instruction
        assert sum(colour in goal.instruction for colour in COLOURS) == len(named)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_object_is_asked_for_about_equally_often(family):
    asked = [layout_and_goal(Start(family, index, 11))[1] for index in range(300)]
    counts = np.unique([f"{goal.thing} {goal.where}" for goal in asked], return_counts=True)[1]
    assert len(counts) == CHOICES[family]
    assert counts.min() > 0.6 * 300 / CHOICES[family] and counts.max() < 1.5 * 300 / CHOICES[family]


def test_an_unknown_task_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="No task named 'reech'. Did you mean 'reach'"):
        layout_and_goal(Start("reech", 0, 0))
