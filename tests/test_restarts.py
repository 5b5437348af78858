"""A simulator that dies or hangs is started again; what it breaks twice is marked and counts as failed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from remote import TINY, start
from sim_tiny import DIES, FAILS, HANGS

from workbench.actions import Actions
from workbench.benchmarks.contract import Protocol, Start
from workbench.benchmarks.env import BenchmarkEnv
from workbench.benchmarks.remote.client import RemoteEnv
from workbench.build import build
from workbench.compute import place
from workbench.data.statistics import Statistics
from workbench.errors import SimulatorFailed
from workbench.evaluate import Played, Player
from workbench.film import write_films
from workbench.plan import Compute, Inputs
from workbench.record import write_episodes
from workbench.restarts import play_on
from workbench.spec import Spec
from workbench.training.imitate import ActionScale

PROTOCOL = Protocol.model_validate({"tasks": ["reach"], "initial_states": 5, "horizon": 4})


@pytest.fixture(scope="module")
def player() -> Player:
    policy, backbone = build(Spec(), 0, chunk=4, root=Path(), actions=Actions(7, True))
    scale = ActionScale(Statistics.from_values(np.random.default_rng(0).uniform(-1, 1, (50, 7))))
    return Player(policy, backbone, scale, np.zeros(3, np.uint8), place(Compute(device="cpu")))


class Opened:
    """Opens the simulator of nothing, and remembers how often."""

    def __init__(self, patience: float = 5.0):
        self.envs = list[RemoteEnv]()
        self.patience = patience

    def __call__(self) -> BenchmarkEnv:
        self.envs.append(RemoteEnv(PROTOCOL, 3, replace(TINY, patience=self.patience)))
        return self.envs[-1]

    def gone(self) -> bool:
        processes = [peer.process for env in self.envs for peer in env.peers]
        return all(process is not None and process.poll() is not None for process in processes)


def played(player: Player, opened: Callable[[], BenchmarkEnv], *rounds: list[Start]) -> dict[int, Played]:
    return {one.start.initial_state: one for one in play_on(opened, player, Inputs(), rounds)}


@pytest.mark.parametrize("state, said", [(DIES, "ended at 'begin'"), (FAILS, "failed at 'begin'")])
def test_the_others_of_its_round_and_the_next_rounds_are_played(player: Player, state: int, said: str):
    opened = Opened()
    found = played(player, opened, [start(1), start(state), start(2)], [start(3), start(4)])
    assert set(found) == {1, state, 2, 3, 4}
    outcome = found[state].outcome
    assert said in outcome.fault and not outcome.success and (outcome.steps, outcome.progress) == (0, 0.0)
    assert not any(found[other].outcome.fault for other in (1, 2, 3, 4))
    assert len(opened.envs) == 3 and opened.gone()  # after the round's failure, and after the episode's own


def test_one_that_hangs_is_waited_for_as_long_as_said_and_marked(player: Player):
    opened = Opened(patience=0.5)
    found = played(player, opened, [start(1), start(HANGS)])
    assert "did not answer 'begin' in time" in found[HANGS].outcome.fault and found[1].outcome.steps > 0
    assert opened.gone()


def test_a_simulator_that_breaks_all_is_given_up(player: Player):
    opened = Opened()
    with pytest.raises(SimulatorFailed, match="ended at 'begin'"):
        played(player, opened, [start(DIES), start(DIES), start(DIES)])
    assert opened.gone()


def test_an_episode_that_was_played_well_ends_the_count(player: Player):
    found = played(player, Opened(), [start(DIES)], [start(1)], [start(FAILS)], [start(2)], [start(DIES)])
    assert sum(bool(one.outcome.fault) for one in found.values()) == 2


def test_a_mark_is_stored_and_nothing_is_where_there_is_none(player: Player, tmp_path: Path):
    found = played(player, Opened(), [start(1), start(DIES)])
    write_episodes(tmp_path, [found[1].outcome, found[DIES].outcome])
    lines = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert "fault" not in lines[0] and "ended at 'begin'" in lines[1]["fault"]


def test_what_was_not_played_is_not_filmed(player: Player, tmp_path: Path):
    broken = played(player, Opened(), [start(DIES)])[DIES]
    write_films([broken], PROTOCOL, tmp_path / "films")
    assert list((tmp_path / "films").iterdir()) == []
