"""Episodes in worker processes: each told once, the same as in one process, whatever dies on the way."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from commands import refusal, say
from conftest import SmallRun
from performers import Planted
from processes import alive, children, until

from workbench.benchmarks.contract import Outcome, Protocol, Start
from workbench.errors import UserError
from workbench.journal import open_journal
from workbench.publish import save_policy
from workbench.record import EPISODES, read_json
from workbench.shards import Told, longest_first, perform, round_size, rounds_of

HOUSE = Path(__file__).parent.parent
PROTOCOL = Protocol(tasks=("reach", "lift"), initial_states=10)
STARTS = PROTOCOL.manifest()


def told(performer: Planted, *, workers: int | None, known: Sequence[Start] = ()) -> list[Told]:
    rounds = rounds_of("planted", STARTS, PROTOCOL, known=known)
    return list(perform({"planted": performer}, rounds, workers=workers))


def by_start(found: list[Told]) -> dict[Start, Outcome]:
    assert len({one.start for one in found}) == len(found), "an episode was told twice"
    return {one.start: one.outcome for one in found}


def test_giving_out_rounds_needs_no_torch():
    asked = "import sys, workbench.shards, workbench.journal; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], cwd=HOUSE).returncode == 0


def test_rounds_hold_every_start_once_and_are_small_enough_to_be_shared():
    rounds = rounds_of("planted", STARTS, PROTOCOL)
    assert tuple(start for one in rounds for start in one.starts) == STARTS
    assert [len(one.starts) for one in rounds] == [2] * 10
    assert (round_size(1, 8), round_size(17, 8), round_size(500, 8), round_size(500, 64)) == (1, 2, 8, 32)


def test_tasks_that_may_take_longest_are_played_first():
    order = longest_first(PROTOCOL)
    assert sorted(map(str, order)) == sorted(map(str, STARTS))
    assert [start.task for start in order] == ["lift"] * 10 + ["reach"] * 10


def test_workers_tell_what_one_process_tells_with_the_same_episodes_side_by_side():
    alone = by_start(told(Planted(), workers=None))
    assert set(alone) == set(STARTS) and {one.success for one in alone.values()} == {True, False}
    assert by_start(told(Planted(), workers=2)) == alone


def test_what_is_known_is_not_told_again_and_the_rest_ends_as_it_would_have():
    alone, known = by_start(told(Planted(), workers=None)), STARTS[:5]
    rest = by_start(told(Planted(), workers=None, known=known))
    assert rest == {start: outcome for start, outcome in alone.items() if start not in known}


def test_a_killed_worker_leaves_its_episodes_to_another_one(tmp_path: Path):
    found = by_start(told(Planted(wrong="killed", once=tmp_path / "killed"), workers=2))
    assert (tmp_path / "killed").exists() and found == by_start(told(Planted(), workers=None))


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ("killed", UserError, "Two worker processes died, the last one with exit code -9, while planted played"),
        ("refused", UserError, "^The table is on fire: put it out.$"),
        ("broken", RuntimeError, "(?s)Traceback.*_go_wrong.*the table has no legs"),
    ],
)
def test_what_goes_wrong_each_time_is_said_and_ends_all_workers(wrong, error: type[Exception], said: str):
    before = set(children(os.getpid()))
    with pytest.raises(error, match=said):
        told(Planted(wrong=wrong), workers=2)
    assert until(lambda: not {one for one in set(children(os.getpid())) - before if "spawn_main" in about(one)})


def about(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_whoever_stops_listening_ends_the_workers():
    performing = perform({"planted": Planted()}, rounds_of("planted", STARTS, PROTOCOL), workers=1)
    next(performing)
    (worker,) = [one for one in children(os.getpid()) if "spawn_main" in about(one)]
    performing.close()
    assert not alive(worker)


def played(start: Start) -> Outcome:
    return Planted().outcome(start)


@pytest.mark.parametrize("torn", [b'{"task": "reach", "init', b"\xff", b"{}"])
def test_a_line_that_was_torn_off_is_dropped_and_its_episode_is_missing_again(tmp_path: Path, torn: bytes):
    with open_journal(tmp_path, manifest="m", policy="p") as journal:
        assert journal.played == {}
        for start in STARTS[:3]:
            journal.add(played(start))
    with (tmp_path / EPISODES).open("ab") as file:
        file.write(torn)
    with open_journal(tmp_path, manifest="m", policy="p") as journal:
        assert journal.played == {start: played(start) for start in STARTS[:3]}
        journal.add(played(STARTS[3]))
    with open_journal(tmp_path, manifest="m", policy="p") as journal:
        assert journal.played == {start: played(start) for start in STARTS[:4]}
    lines = (tmp_path / EPISODES).read_text().splitlines()
    assert len(lines) == 5 and json.loads(lines[0]) == {"manifest": "m", "policy": "p"}


def test_an_episode_is_in_the_file_before_the_next_one_ends(tmp_path: Path):
    with open_journal(tmp_path, manifest="m", policy="p") as journal:
        journal.add(played(STARTS[0]))
        assert len((tmp_path / EPISODES).read_text().splitlines()) == 2


def test_a_first_line_that_was_torn_off_is_written_again(tmp_path: Path):
    (tmp_path / EPISODES).write_text('{"manifest": "m", "pol')
    with open_journal(tmp_path, manifest="m", policy="p") as journal:
        assert journal.played == {}
    assert (tmp_path / EPISODES).read_text() == '{"manifest": "m", "policy": "p"}\n'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"manifest": "m", "policy": "q"}\n', "played with another policy .policy q, not p."),
        ('{"manifest": "n", "policy": "p"}\n', "played with other episodes or rules .manifest n, not m."),
        ('{"task": "reach"}\n', "is no journal of an evaluation"),
        ('{"manifest": "m", "policy": "p"}\n{"task": "reach"}\n', "line 2, is damaged"),
        ('{"manifest": "m", "policy": "p"}\nnothing\n', "line 2, is damaged"),
    ],
)
def test_a_journal_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path, content: str, said: str):
    (tmp_path / EPISODES).write_text(content)
    with pytest.raises(UserError, match=said), open_journal(tmp_path, manifest="m", policy="p"):
        pass
    assert (tmp_path / EPISODES).read_text() == content


def test_two_processes_do_not_play_into_one_folder(tmp_path: Path):
    opened = open_journal(tmp_path, manifest="m", policy="p")
    with opened, pytest.raises(UserError, match="Another process"), open_journal(tmp_path, manifest="m", policy="p"):
        pass


@pytest.fixture(scope="module")
def policy(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "policy"
    save_policy(small_run.record, folder)
    return folder


def figures(folder: Path) -> tuple[dict, list[dict]]:
    """The result and the episodes, without what differs between two evaluations: times."""
    result = {k: v for k, v in read_json(folder / "result.json").items() if k not in TIMES}
    outcomes = [json.loads(line) for line in (folder / EPISODES).read_text().splitlines()[1:]]
    return result, sorted(({**one, "seconds": 0} for one in outcomes), key=lambda one: one["initial_state"])


TIMES = ("played", "seconds", "episodes_per_hour")


@pytest.mark.slow
def test_an_evaluation_that_was_killed_and_resumed_has_the_result_of_one_that_was_not(policy: Path, tmp_path: Path):
    asked = ("evaluate", str(policy), "--task", "reach", "--episodes", "24")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert say(*asked, "--output", str(whole)).code == 0
    command = [sys.executable, "-m", "workbench.cli", *asked, "--output", str(broken), "--workers", "2"]
    process = subprocess.Popen(command, cwd=HOUSE, stdout=subprocess.DEVNULL)
    journal = broken / EPISODES
    assert until(lambda: journal.is_file() and len(journal.read_text().splitlines()) > 3, 300)
    workers = [one for one in children(process.pid) if "spawn_main" in about(one)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert workers and until(lambda: not any(alive(worker) for worker in workers))
    before = len(figures_kept(journal))
    assert 3 <= before < 24 and not (broken / "result.json").exists()
    said = say(*asked, "--output", str(broken), "--format", "json")
    answer = json.loads(said.out)
    assert answer["played"] == 24 - before and answer["episodes_per_hour"] > 0
    assert figures(broken) == figures(whole)
    info = read_json(broken / "eval_info.json")
    assert info["overall"]["n_episodes"] == 24 == len(info["per_task"][0]["metrics"]["successes"])
    stamp = (broken / "result.json").stat().st_mtime_ns
    assert "nothing was left to play" in say(*asked, "--output", str(broken)).out
    assert (broken / "result.json").stat().st_mtime_ns == stamp
    changed = refusal("evaluate", str(policy), "--task", "reach", "--episodes", "2", "--output", str(broken))
    assert "other episodes" in changed


def figures_kept(journal: Path) -> list[str]:
    """The whole lines of episodes."""
    return journal.read_text().rpartition("\n")[0].splitlines()[1:]
