"""Duels: a planted difference ends them early, in the drawn order; equal policies are never told apart."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from commands import refusal, say
from conftest import SmallRun
from performers import Planted
from safetensors.torch import load_file, save_file

from ablations.duel import FIRST, SECOND, Verdict, drawn_order, duel, duel_rounds
from workbench.benchmarks.contract import Protocol, Start
from workbench.publish import save_policy
from workbench.shards import Told, perform

PROTOCOL = Protocol(tasks=("reach",), initial_states=200)


def fought(first: Planted, second: Planted, *, seed: int = 0, workers: int | None = None) -> Verdict:
    order = drawn_order(PROTOCOL, seed)
    performers = {FIRST: first, SECOND: second}
    return list(duel(perform(performers, duel_rounds(order, PROTOCOL), workers=workers), order))[-1]


@pytest.mark.parametrize(("rates", "winner"), [((0.9, 0.2), FIRST), ((0.2, 0.9), SECOND)])
def test_a_planted_difference_is_decided_early_and_for_the_better_one(rates: tuple[float, float], winner: str):
    verdict = fought(Planted(rates[0], seed=1), Planted(rates[1], seed=2))
    assert verdict.decided and verdict.winner == winner and 6 <= verdict.episodes < 60
    assert verdict.e_value >= 20 and max(verdict.won, verdict.lost) > min(verdict.won, verdict.lost)
    assert verdict.solved_first - verdict.solved_second == verdict.won - verdict.lost


def test_equal_policies_are_never_told_apart():
    verdict = fought(Planted(0.6, seed=1), Planted(0.6, seed=1))
    assert not verdict.decided and verdict.winner is None
    assert (verdict.episodes, verdict.won, verdict.lost, verdict.e_value) == (200, 0, 0, 1.0)


def test_equally_good_policies_are_told_apart_in_few_duels():
    decided = [fought(Planted(0.5, seed=2 * i), Planted(0.5, seed=2 * i + 1), seed=i).decided for i in range(20)]
    assert sum(decided) <= 3


def test_two_workers_come_to_the_same_verdict():
    first, second = Planted(0.9, seed=1), Planted(0.2, seed=2)
    assert fought(first, second, workers=2) == fought(first, second)


def verdicts(order: Sequence[Start], arriving: list[Told]) -> list[Verdict]:
    return list(duel(iter(arriving), order))


def test_episodes_count_in_the_drawn_order_and_not_as_they_end():
    order = drawn_order(PROTOCOL, 3)
    first, second = Planted(0.9, seed=1), Planted(0.2, seed=2)
    both = [[Told(who, one.outcome(start)) for start in order] for who, one in ((FIRST, first), (SECOND, second))]
    in_turn = [told for pair in zip(*both, strict=True) for told in pair]
    backwards = both[0] + both[1][:0:-1]
    assert verdicts(order, backwards) == []
    assert verdicts(order, backwards + both[1][:1]) == verdicts(order, in_turn)


def test_the_order_is_drawn_from_the_seed_and_holds_every_start():
    order = drawn_order(PROTOCOL, 5)
    assert order == drawn_order(PROTOCOL, 5) != drawn_order(PROTOCOL, 6)
    assert set(order) == set(PROTOCOL.manifest()) and tuple(order) != PROTOCOL.manifest()
    assert np.corrcoef([start.initial_state for start in order], np.arange(200))[0, 1] < 0.3


@pytest.mark.slow
def test_two_folders_fight_from_the_command_line(small_run: SmallRun, tmp_path: Path):
    a, b = tmp_path / "a", tmp_path / "b"
    save_policy(small_run.record, a)
    shutil.copytree(a, b)
    assert "are the same policy" in refusal("duel", str(a), str(b))
    weights = {
        name: tensor * (not name.startswith("head.")) for name, tensor in load_file(b / "model.safetensors").items()
    }
    save_file(weights, b / "model.safetensors")
    answer = json.loads(say("duel", str(a), str(b), "--episodes", "3", "--format", "json").out)
    assert answer["decided"] is False and answer["winner"] is None and answer["episodes"] == 3
    assert set(answer["success"]) == {str(a), str(b)} and answer["episodes_per_hour"] > 0
    assert "No task named 'juggle'" in refusal("duel", str(a), str(b), "--task", "juggle")
