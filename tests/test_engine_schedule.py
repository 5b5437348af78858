"""Who gives out the work, with workers that do as the test tells them."""

import errno
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import pytest

from workbench.benchmarks.contract import Protocol
from workbench.claim import Watch, claimed
from workbench.engines import schedule
from workbench.engines.contract import Crew, Event, Order
from workbench.engines.schedule import share_out
from workbench.plan import Evaluate, Inputs, Job, Replay, job_id

JOBS: list[Job] = [Replay(protocol=Protocol(tasks=("reach",), initial_states=states)) for states in (1, 2, 3)]
FIRST, SECOND, THIRD = (job_id(job) for job in JOBS)
AFTER_FIRST = Evaluate(of=FIRST, protocol=Protocol(), inputs=Inputs(image="blank"))


class Told(Crew):
    """Ends each order as `ends` says, in their order; `recorded` if nothing is said."""

    deaths = 3

    def __init__(self, workers: int = 2, **ends: list[str]) -> None:
        self.workers, self.ends = workers, {id: deque(stages) for id, stages in ends.items()}
        self.orders: list[Order] = []
        self.busy: deque[Order] = deque()
        self.most, self.stopped = 0, False

    def room(self) -> int:
        return self.workers - len(self.busy)

    def start(self, orders: Sequence[Order]) -> None:
        self.orders += orders
        self.busy += orders
        self.most = max(self.most, len(self.busy))

    def listen(self, seconds: float) -> Event | None:
        order = self.busy.popleft()
        stages = self.ends.get(order.id)
        return Event(order.id, stages.popleft() if stages else "recorded", error="why")

    def stop(self) -> None:
        self.stopped = True

    def given(self) -> list[str]:
        return [order.id for order in self.orders]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "POLL", 0.01)


def ends(events: Sequence[Event]) -> list[tuple[str, str]]:
    return [(event.run, event.stage) for event in events]


def test_no_more_is_given_out_than_there_is_room_for(tmp_path: Path):
    crew = Told(workers=2)
    assert ends(list(share_out(JOBS, tmp_path, crew))) == [(id, "recorded") for id in (FIRST, SECOND, THIRD)]
    assert crew.given() == [FIRST, SECOND, THIRD] and crew.most == 2 and crew.stopped


def test_a_job_is_given_out_after_what_it_needs_and_not_at_all_if_that_broke(tmp_path: Path):
    jobs = [AFTER_FIRST, *JOBS]
    crew = Told(workers=4)
    assert ends(list(share_out(jobs, tmp_path, crew)))[-1] == (job_id(AFTER_FIRST), "recorded")
    crew = Told(workers=4, **{FIRST: ["broken"]})
    events = list(share_out(jobs, tmp_path, crew))
    assert Event(job_id(AFTER_FIRST), "broken", error="a run that it needs broke") in events
    assert len(events) == 4 and job_id(AFTER_FIRST) not in crew.given()


def test_a_job_whose_worker_died_is_given_out_again_so_often_and_no_more(tmp_path: Path):
    crew = Told(**{FIRST: ["died", "died"], SECOND: ["died", "died", "died"]})
    events = list(share_out(JOBS, tmp_path, crew))
    assert sorted(ends(events)) == sorted([(FIRST, "recorded"), (SECOND, "broken"), (THIRD, "recorded")])
    assert [event.error for event in events if event.run == SECOND] == ["why"]
    assert (crew.given().count(FIRST), crew.given().count(SECOND)) == (3, 3)


def test_a_job_that_another_was_faster_to_claim_is_put_back(tmp_path: Path):
    crew = Told(**{FIRST: ["taken", "taken"]})
    events = list(share_out(JOBS, tmp_path, crew))
    told = [(SECOND, "recorded"), (THIRD, "recorded"), ("", "elsewhere"), (FIRST, "recorded")]
    assert ends(events) == told
    assert crew.given().count(FIRST) == 3


def test_what_others_hold_is_left_to_them_told_once_and_taken_over(tmp_path: Path):
    crew, held = Told(), claimed(tmp_path, FIRST, over=0)
    held.__enter__()
    calls = share_out([AFTER_FIRST, *JOBS], tmp_path, crew)
    assert ends([next(calls) for _ in range(3)]) == [(SECOND, "recorded"), (THIRD, "recorded"), ("", "elsewhere")]
    assert crew.given() == [SECOND, THIRD]
    assert not held.__exit__(ValueError, ValueError("it broke there"), None)
    assert ends(list(calls)) == [(FIRST, "recorded"), (job_id(AFTER_FIRST), "recorded")]
    assert crew.orders[2] == Order(FIRST, JOBS[0], over=1) and Watch(tmp_path).vacant(FIRST) == 1


def test_what_others_recorded_meanwhile_is_not_given_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    crew, held = Told(), claimed(tmp_path, FIRST, over=0)
    held.__enter__()
    calls = share_out([*JOBS, AFTER_FIRST], tmp_path, crew)
    assert [next(calls).stage for _ in range(3)] == ["recorded", "recorded", "elsewhere"]
    monkeypatch.setattr(schedule, "is_done", lambda root, job: job == JOBS[0])
    held.__exit__(None, None, None)
    assert ends(list(calls)) == [(FIRST, "recorded"), (job_id(AFTER_FIRST), "recorded")]
    assert FIRST not in crew.given()


def test_a_full_disk_stops_everything(tmp_path: Path):
    crew = Told(**{SECOND: ["disk-full"]})
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
        list(share_out(JOBS, tmp_path, crew))
    assert caught.value.filename == "why" and crew.stopped


def test_closing_stops_the_crew(tmp_path: Path):
    crew = Told()
    calls = share_out(JOBS, tmp_path, crew)
    next(calls)
    calls.close()
    assert crew.stopped
