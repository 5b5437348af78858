"""Crews whose workers may be on other machines: they tell how far they are through files beside the results."""

import json
import os
import sys
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.claim import bury
from workbench.engines.contract import Crew, Event, Order
from workbench.engines.work import do
from workbench.plan import Evaluate, Finetune, Inject, Job
from workbench.record import NO_CACHE, open_record

PENDING = 1000
"""Orders that wait for their turn in a cluster at most; the cluster decides how many are carried out at once."""
SELDOM = 0.5
"""Seconds between two tidings of one job."""
DEATHS = 3
"""A worker that dies with a job is replaced twice: machines of a cluster come and go."""


class DistantCrew(Crew):
    """Workers that a cluster starts, one for each order."""

    deaths = DEATHS

    def __init__(self, root: Path, workers: int) -> None:
        self.root, self.workers = root.resolve(), workers
        self.busy: dict[str, Any] = {}
        self.news: deque[Event] = deque()
        self.heard: dict[str, Event] = {}

    @abstractmethod
    def submit(self, orders: Sequence[Order]) -> Mapping[str, Any]:
        """Hand the orders to the cluster; what it gives for each, by id."""

    @abstractmethod
    def ended(self, seconds: float) -> Event | None:
        """How one of the orders in `busy` ended, if any does within that time; it stays there."""

    @abstractmethod
    def cancel(self) -> None:
        """End what is in `busy`, and everything that the engine started for itself."""

    def room(self) -> int:
        return self.workers - len(self.busy)

    def start(self, orders: Sequence[Order]) -> None:
        self.busy |= self.submit(orders)

    def listen(self, seconds: float) -> Event | None:
        if self.news:
            return self.news.popleft()
        if event := self.ended(min(seconds, SELDOM)):
            del self.busy[event.run]
            if event.stage == "died":
                bury(self.root, event.run)
            return event
        for id in self.busy:
            if (event := _latest(self.root, id)) is not None and event != self.heard.get(id):
                self.heard[id] = event
                self.news.append(event)
        return None

    def stop(self) -> None:
        self.cancel()
        for id in self.busy:
            bury(self.root, id)


@dataclass(frozen=True)
class Caller:
    """The process that gives out work: its command line, which a run's record tells, and whether features are kept."""

    command: tuple[str, ...]
    no_cache: str


def caller() -> Caller:
    return Caller((*sys.argv,), os.environ.get(NO_CACHE, ""))


def do_apart(order: Order, root: Path, caller: Caller) -> Event:
    """Carries out `order` in a process of a cluster: with one thread, as everywhere, so the same bits."""
    os.environ["OMP_NUM_THREADS"], os.environ[NO_CACHE], sys.argv = "1", caller.no_cache, [*caller.command]
    path = _path(root, order.id)
    try:
        return do(order, root, _seldom(path))
    finally:
        path.unlink(missing_ok=True)


def cores(job: Job) -> int:
    """How many processes compute the job, a core each."""
    return job.compute.processes if isinstance(job, Finetune | Inject) else 1


def gpus(job: Job, root: Path, *, auto: int) -> int:
    """How many GPUs the job needs, by its plan's `compute`; where that leaves it open (`auto`), so many as `auto`.

    A policy that several processes trained is played by one.
    """
    plan = open_record(root, job.of).plan if isinstance(job, Evaluate) else job
    if not isinstance(plan, Finetune | Inject):
        return 0
    counted = {"cpu": 0, "auto": auto, "cuda": 1}
    names = (plan.compute.device, *plan.compute.device_map.values())
    most = max(counted[name] if name in counted else int(name.removeprefix("cuda:")) + 1 for name in names)
    return most * cores(job)


def _seldom(path: Path) -> Callable[[Event], None]:
    """Writes the latest event into the file, replacing the one before, but not more often than anyone looks."""
    told = -SELDOM

    def tell(event: Event) -> None:
        nonlocal told
        if time.monotonic() - told >= SELDOM:
            told = time.monotonic()
            path.parent.mkdir(exist_ok=True)
            aside = path.with_suffix(f".{os.getpid()}.tmp")
            aside.write_text(json.dumps(asdict(event)))
            aside.replace(path)

    return tell


def _latest(root: Path, id: str) -> Event | None:
    try:
        return Event(**json.loads(_path(root, id).read_text()))
    except FileNotFoundError:  # it has not begun, or has just ended
        return None


def _path(root: Path, id: str) -> Path:
    return root / "progress" / f"{id}.json"
