"""Who gives out the work, whichever engine does it: dependencies first, and nothing that others have claimed."""

import errno
import os
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from workbench.claim import Watch
from workbench.engines.contract import Crew, Event, Order
from workbench.plan import Job, job_id, needs
from workbench.record import is_done

POLL = 1.0
"""Seconds after which a job that another process has claimed is looked at again."""


def share_out(jobs: Sequence[Job], root: Path, crew: Crew) -> Generator[Event, None, None]:
    """The promise of an `Engine`, kept with the help of `crew`, which is stopped at the end."""
    desk, told = _Desk(jobs, root, crew), False
    try:
        while desk.waiting or desk.given:
            yield from desk.give_out()
            if desk.given:
                yield from desk.hear(crew.listen(POLL))
            elif held := desk.waiting.keys() & desk.held.keys():
                if not told:
                    told = True
                    yield Event("", "elsewhere", total=len(held))
                time.sleep(POLL)
    finally:
        crew.stop()


class _Desk:
    """Which jobs wait, which are given out, and which are held by others (and when that was looked at)."""

    def __init__(self, jobs: Sequence[Job], root: Path, crew: Crew) -> None:
        self.root, self.crew, self.watch = root, crew, Watch(root)
        self.waiting = {job_id(job): job for job in jobs if not is_done(root, job)}
        self.given: dict[str, Job] = {}
        self.held: dict[str, float] = {}
        self.broken: set[str] = set()
        self.deaths: Counter[str] = Counter()

    def give_out(self) -> Iterator[Event]:
        room, orders = self.crew.room(), list[Order]()
        for id, job in list(self.waiting.items()):
            wanted = set(needs(job))
            if self.broken & wanted:
                del self.waiting[id]
                self.broken.add(id)
                yield Event(id, "broken", error="a run that it needs broke")
            elif len(orders) < room and not wanted & (self.waiting.keys() | self.given.keys()) and self._due(id):
                yield from self._begin(id, job, orders)
        if orders:
            self.crew.start(orders)

    def hear(self, event: Event | None) -> Iterator[Event]:
        if event is None:
            return
        match event.stage:
            case "taken":
                self.held[event.run] = time.monotonic()
                self.waiting[event.run] = self.given.pop(event.run)
            case "died" if self.deaths[event.run] + 1 < self.crew.deaths:
                self.deaths[event.run] += 1
                self.waiting[event.run] = self.given.pop(event.run)
            case "disk-full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), event.error)
            case "broken" | "died":
                del self.given[event.run]
                self.broken.add(event.run)
                yield Event(event.run, "broken", error=event.error)
            case "recorded":
                del self.given[event.run]
                yield event
            case _:
                yield event

    def _begin(self, id: str, job: Job, orders: list[Order]) -> Iterator[Event]:
        """An order for the job, unless it is done or held by another process."""
        if is_done(self.root, job):
            del self.waiting[id]
            yield Event(id, "recorded")
        elif (over := self.watch.vacant(id)) is None:
            self.held[id] = time.monotonic()
        else:
            self.held.pop(id, None)
            self.given[id] = self.waiting.pop(id)
            orders.append(Order(id, job, over))

    def _due(self, id: str) -> bool:
        return id not in self.held or time.monotonic() - self.held[id] >= POLL
