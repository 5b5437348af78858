"""Rollouts: every episode of the manifest once, outcomes that can be replayed, and inputs that are what they claim."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tables import RULES, tables

from workbench.benchmarks.contract import Outcome, Protocol, Start
from workbench.benchmarks.tabletop.env import TabletopVectorEnv
from workbench.benchmarks.tabletop.tasks import FAMILIES
from workbench.build import build
from workbench.compute import place
from workbench.data.statistics import Statistics
from workbench.errors import UserError
from workbench.evaluate import Played, Player, _seat, in_manifest_order, play_expert
from workbench.interventions import Interventions
from workbench.plan import Compute, Inputs
from workbench.restarts import play
from workbench.spec import Slot, Spec
from workbench.training.imitate import ActionScale

CHUNK = 3
PROTOCOL = Protocol(tasks=("reach", "lift"), initial_states=18, n_action_steps=2)
"""More episodes than rows, so that rows are taken again."""


@pytest.fixture(scope="module")
def player() -> Player:
    """The shipped model with a new head: it moves, and sometimes touches what it was asked to reach."""
    policy, backbone = build(Spec(), 0, chunk=CHUNK, root=Path())
    random = np.random.default_rng(0)
    action = np.concatenate([random.uniform(-1, 1, (500, 6)), np.sign(random.uniform(-1, 1, (500, 1)))], axis=1)
    return Player(
        policy,
        backbone,
        ActionScale(Statistics.from_values(action)),
        np.array([200, 190, 180], np.uint8),
        place(Compute()),
    )


@pytest.fixture(scope="module")
def played(player: Player) -> list[Played]:
    return list(play(player, PROTOCOL, Inputs()))


@dataclass(frozen=True, kw_only=True)
class Shadow(Player):
    """The expert as a player: it plays the same manifest in tables of its own and passes its actions on."""

    env: TabletopVectorEnv
    playing: np.ndarray

    def act(
        self,
        pixels_BHWC: np.ndarray,
        instructions: Sequence[str],
        *,
        noise: Sequence[torch.Generator],
        state_BS: np.ndarray | None = None,
    ) -> np.ndarray:
        rows = np.flatnonzero(self.playing)
        assert len(pixels_BHWC) == len(instructions) == len(rows)
        assert [self.env.goals[row].instruction for row in rows] == list(instructions)
        actions = np.zeros((self.env.num_envs, 7))
        actions[rows] = [self.env.expert_action(int(row)) for row in rows]
        self.playing[self.env.advance(actions, self.playing)] = False
        return np.repeat(actions[rows][:, None], CHUNK, axis=1)


def test_every_episode_of_the_manifest_is_played_exactly_once(played):
    assert len(PROTOCOL.manifest()) == 36 > RULES.rows
    assert sorted(map(str, PROTOCOL.manifest())) == sorted(str(one.start) for one in played)
    ordered = in_manifest_order(played, PROTOCOL)
    assert tuple(one.start for one in ordered) == PROTOCOL.manifest()


def test_an_outcome_says_what_happened(played):
    for one in played:
        outcome, horizon = one.outcome, RULES.horizons[one.start.task]
        assert (outcome.task, outcome.initial_state, outcome.seed) == (
            one.start.task, one.start.initial_state, one.start.seed,
        )  # fmt: skip
        assert outcome.steps == len(one.actions) <= horizon
        assert outcome.success or outcome.steps == horizon
        assert 0.0 <= outcome.progress <= 1.0 and (outcome.progress == 1.0) == outcome.success
        assert outcome.instruction.split()[0] == outcome.task and outcome.seconds > 0


def test_an_episode_can_be_played_again_from_its_start_and_its_actions(played):
    env = tables(1, 8)
    try:
        for one in played:
            env.reset(options={"starts": [one.start]})
            successes = [bool(env.advance(action[None], np.array([True]))[0]) for action in one.actions]
            assert successes == [False] * (len(successes) - 1) + [one.outcome.success]
            assert round(float(env.best[0]), 4) == one.outcome.progress
    finally:
        env.close()


def test_the_same_player_plays_the_same_episodes_twice(player, played):
    again = list(play(player, PROTOCOL, Inputs()))
    assert [one.start for one in again] == [one.start for one in played]
    for first, second in zip(played, again, strict=True):
        np.testing.assert_array_equal(first.actions, second.actions)
        assert replace(first.outcome, seconds=0.0) == replace(second.outcome, seconds=0.0)


def test_the_expert_itself_succeeds_everywhere():
    protocol = Protocol(tasks=tuple(FAMILIES), initial_states=4)
    played = list(play_expert(protocol))
    assert tuple(one.start for one in played) == protocol.manifest()
    assert all(one.outcome.success and one.outcome.steps == len(one.actions) for one in played)


def test_a_player_that_knows_the_way_succeeds_everywhere(player):
    protocol = Protocol(tasks=tuple(FAMILIES), initial_states=4, n_action_steps=1)
    env = tables(16, 8)
    env.reset(options={"starts": list(protocol.manifest())})
    fields = {name: getattr(player, name) for name in ("policy", "backbone", "scale", "mean_colour", "spot")}
    try:
        played = list(play(Shadow(**fields, env=env, playing=np.ones(16, bool)), protocol, Inputs()))
        assert all(one.outcome.success and one.outcome.progress == 1.0 for one in played)
        steps = [one.outcome.steps for one in in_manifest_order(played, protocol)]
        assert steps == env.age.tolist()
    finally:
        env.close()


def test_only_the_asked_number_of_actions_of_a_chunk_is_executed(player):
    """With a chunk of three, two executed: the policy is asked at every second step."""
    asked: list[int] = []

    class Counting(Player):
        def act(
            self,
            pixels_BHWC: np.ndarray,
            instructions: Sequence[str],
            *,
            noise: Sequence[torch.Generator],
            state_BS: np.ndarray | None = None,
        ) -> np.ndarray:
            asked.append(len(instructions))
            still = np.zeros((len(instructions), CHUNK, 7))
            still[:, 2] = 9.0  # the third action must never be executed
            return still

    fields = {name: getattr(player, name) for name in ("policy", "backbone", "scale", "mean_colour", "spot")}
    protocol = Protocol(tasks=("reach",), initial_states=5, n_action_steps=2)
    played = list(play(Counting(**fields), protocol, Inputs()))
    assert asked == [5] * (RULES.horizons["reach"] // 2)
    assert not any(one.actions.any() for one in played)


def test_more_actions_than_a_chunk_has_cannot_be_executed(player):
    with pytest.raises(UserError, match="plays 4 actions of each chunk .* predicts 3"):
        list(play(player, PROTOCOL.model_copy(update={"n_action_steps": 4}), Inputs()))


def pictures(batch: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (batch, 64, 64, 3), dtype=np.uint8)


def act(player: Player, pixels: np.ndarray, asked: list[str]) -> np.ndarray:
    return player.act(pixels, asked, noise=[torch.Generator().manual_seed(row) for row in range(len(asked))])


def test_acting_draws_nothing_at_random_and_leaves_the_policy_in_eval_mode(player):
    player.policy.train()
    first = act(player, pictures(2), ["reach", "lift"])
    assert not player.policy.training
    np.testing.assert_array_equal(first, act(player, pictures(2), ["reach", "lift"]))
    assert first.shape == (2, CHUNK, 7) and set(np.unique(first[..., 6])) <= {-1.0, 1.0}


def test_missing_and_repeated_episodes_are_noticed(played):
    with pytest.raises(AssertionError, match="twice"):
        in_manifest_order([*played, played[0]], PROTOCOL)
    with pytest.raises(KeyError):
        in_manifest_order(played[:-1], PROTOCOL)
    stray = Played(Start("reach", 99, 0), Outcome("reach", 99, 0, "", False, 1, 0.0, 0.0), np.zeros((1, 7)))
    with pytest.raises(KeyError):
        in_manifest_order([*played[1:], stray], PROTOCOL)


@pytest.fixture(scope="module")
def dreamer(player: Player) -> Player:
    """The same model with a head that draws noise."""
    policy, backbone = build(Spec(head=Slot(module="flow-matching", weights="random")), 0, chunk=CHUNK, root=Path())
    return replace(player, policy=policy, backbone=backbone)


def test_a_head_that_draws_plays_the_same_episodes_again_whatever_was_drawn_before(dreamer):
    protocol = Protocol(tasks=("reach",), initial_states=3)
    first = in_manifest_order(list(play(dreamer, protocol, Inputs())), protocol)
    torch.manual_seed(77)
    again = in_manifest_order(list(play(dreamer, protocol, Inputs())), protocol)
    assert all(np.array_equal(one.actions, other.actions) for one, other in zip(first, again, strict=True))
    assert not np.array_equal(first[0].actions[:2], first[1].actions[:2])


def test_what_is_drawn_for_a_row_does_not_depend_on_the_rows_beside_it(dreamer):
    def generators(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    seen, asked = pictures(2), ["reach the red block", "lift the blue block"]
    both = dreamer.act(seen, asked, noise=generators(1, 2))
    second = dreamer.act(seen[1:], asked[1:], noise=generators(2))
    np.testing.assert_allclose(both[1:], second, atol=1e-5)
    assert np.abs(both[1:] - dreamer.act(seen[1:], asked[1:], noise=generators(1))).max() > 0.01


def test_the_noise_of_an_episode_is_its_starts_wherever_it_is_seated():
    starts = [Start("reach", i, 404) for i in range(2)]
    found = []
    for order in (starts, starts[::-1]):
        env, seated = tables(2, 8), {}
        _seat(env, seated, deque(order), Interventions(Inputs(), np.zeros(3, np.uint8), (), order))
        found.append({table.start: table.noise.initial_seed() for table in seated.values()})
        env.close()
    assert found[0] == found[1] and len(set(found[0].values())) == 2


class Chain(TabletopVectorEnv):
    """A tabletop that asks for something else once a row has made two steps."""

    def move(self, row: int, action: np.ndarray) -> tuple[bool, float]:
        made = super().move(row, action)
        if self.age[row] == 1:
            self.instructions[row] = "go on with the next"
        return made


def test_a_policy_that_is_asked_for_something_else_in_mid_chunk_looks_again_first(
    player: Player, monkeypatch: pytest.MonkeyPatch
):
    told: list[tuple[int, str]] = []
    protocol = Protocol(tasks=("reach",), initial_states=1, n_action_steps=3)
    env = Chain(protocol, 1)
    monkeypatch.setattr("workbench.restarts.open_env", lambda protocol, count: env)

    class Witness(Player):
        def act(
            self, pixels_BHWC: np.ndarray, instructions: list[str], *, noise: object, state_BS: object = None
        ) -> np.ndarray:
            told.append((int(env.age[0]), instructions[0]))
            return np.zeros((1, CHUNK, 7))

    fields = {name: getattr(player, name) for name in ("policy", "backbone", "scale", "mean_colour", "spot")}
    (played,) = play(Witness(**fields), protocol, Inputs())
    first = env.sentence(played.start)
    assert told[:3] == [(0, first), (2, "go on with the next"), (5, "go on with the next")]
    assert played.outcome.instruction == first and played.outcome.steps == len(played.actions)
