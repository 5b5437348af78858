"""Runs on this machine: a few worker processes with one thread each, started once, fed until nothing is missing."""

import multiprocessing
import os
import queue
import signal
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from workbench.plan import Plan, needs, run_id
from workbench.record import find

LISTEN_SECONDS = 1.0


@dataclass(frozen=True)
class Event:
    """What a worker tells: `stage` with `done` of `total`; the stage `recorded` ends a run, `broken` ends it with `error`."""

    run: str
    stage: str
    done: int = 0
    total: int = 0
    error: str = ""


def default_workers() -> int:
    """One worker a core, at most two: each keeps a policy and its demonstrations in memory."""
    return min(2, len(os.sched_getaffinity(0)))


def carry_out(plans: Sequence[Plan], root: Path, *, workers: int) -> Iterator[Event]:
    """Carries out what of `plans` is not recorded, dependencies first, and yields events as they come.

    Closing the iterator (or Ctrl-C) kills the workers: only the runs in progress are lost. A run whose dependency
    broke is skipped and stays missing. With one worker, runs happen one after the other in one process.
    """
    waiting = {run_id(plan): plan for plan in plans if find(root, plan) is None}
    crew = _Crew(min(workers, len(waiting)), root)
    broken: set[str] = set()
    try:
        while waiting or crew.busy:
            for id, plan in list(waiting.items()):
                if broken & set(needs(plan)):
                    del waiting[id]
                    broken.add(id)
                    yield Event(id, "broken", error="a run that it needs broke")
                elif crew.free and not (set(needs(plan)) & (set(waiting) | set(crew.busy))):
                    crew.start(id, waiting.pop(id))
            if crew.busy:
                event = crew.listen()
                if event is not None:
                    broken |= {event.run} if event.stage == "broken" else set()
                    yield event
    finally:
        crew.stop()


class _Crew:
    """Worker processes: who is free, who does what."""

    def __init__(self, count: int, root: Path):
        context = multiprocessing.get_context("spawn")
        os.environ["OMP_NUM_THREADS"] = "1"
        self.events: Any = context.Queue()
        self.orders = [context.SimpleQueue() for _ in range(count)]
        self.workers: list[SpawnProcess] = [
            context.Process(target=_work, args=(orders, self.events, root), daemon=True) for orders in self.orders
        ]
        for worker in self.workers:
            worker.start()
        self.free = list(range(count))
        self.busy: dict[str, int] = {}

    def start(self, id: str, plan: Plan) -> None:
        worker = self.free.pop()
        self.busy[id] = worker
        self.orders[worker].put((id, plan))

    def listen(self) -> Event | None:
        try:
            event: Event = self.events.get(timeout=LISTEN_SECONDS)
        except queue.Empty:
            return self._lost()
        if event.stage in ("recorded", "broken"):
            self.free.append(self.busy.pop(event.run))
        return event

    def _lost(self) -> Event | None:
        """A worker that died (killed, out of memory) breaks its run; the others go on."""
        for id, index in list(self.busy.items()):
            if not self.workers[index].is_alive():
                del self.busy[id]
                code = self.workers[index].exitcode
                if not self.busy and not self.free:
                    raise RuntimeError(f"every worker process died; the last one with exit code {code}")
                return Event(id, "broken", error=f"its worker process died with exit code {code}")
        return None

    def stop(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.join()


def _work(orders: Any, events: Any, root: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    import torch

    from workbench.execute import execute

    torch.set_num_threads(1)
    while True:
        id, plan = orders.get()
        try:
            execute(plan, root, lambda stage, done, total, id=id: events.put(Event(id, stage, done, total)))
            events.put(Event(id, "recorded"))
        except Exception as error:
            detail = str(error) if type(error).__name__ == "UserError" else traceback.format_exc()
            events.put(Event(id, "broken", error=detail))
