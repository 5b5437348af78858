"""Runs and collections on this machine, in a few worker processes: one thread each, started once, fed to the end."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from workbench.claim import bury
from workbench.engines.contract import ENDS, Crew, Event, Order
from workbench.engines.schedule import share_out
from workbench.engines.work import do
from workbench.plan import Job

GPUS = Path("/proc/driver/nvidia/gpus")


def default_workers() -> int:
    """One worker a core, at most two: each keeps a policy and its demonstrations in memory. One beside a GPU."""
    return 1 if GPUS.is_dir() else min(2, len(os.sched_getaffinity(0)))


def carry_out(jobs: Sequence[Job], root: Path, *, workers: int) -> Generator[Event, None, None]:
    """The `Engine` of this machine: with one worker, runs happen one after the other in one process."""
    return share_out(jobs, root, _Crew(root, workers))


@dataclass(frozen=True)
class _Worker:
    """A process and the line to it. Each has its own: one that is killed cannot hold a lock that others wait for."""

    process: SpawnProcess
    line: Connection


class _Crew(Crew):
    """Worker processes: who is free, who does what. They are hired when there is work for them."""

    deaths = 1

    def __init__(self, root: Path, workers: int):
        self.root, self.workers = root, workers
        self.free: list[_Worker] = []
        self.busy: dict[str, _Worker] = {}

    def room(self) -> int:
        return self.workers - len(self.busy)

    def start(self, orders: Sequence[Order]) -> None:
        for order in orders:
            self.free = [worker for worker in self.free if worker.process.is_alive()]
            worker = self.free.pop() if self.free else _Worker(*hired(_work, self.root))
            self.busy[order.id] = worker
            with suppress(OSError):  # it died by now; listening tells so
                worker.line.send(order)

    def listen(self, seconds: float) -> Event | None:
        """A worker that died (killed, out of memory) ends its order; the others go on."""
        ready = wait([worker.line for worker in self.busy.values()], seconds)
        if not ready:
            return None
        id, worker = next((id, worker) for id, worker in self.busy.items() if worker.line in ready)
        self.busy[id] = self.busy.pop(id)  # to the end: whoever tells much does not drown the others
        try:
            event: Event = worker.line.recv()
        except (EOFError, OSError):  # the line ends between two events, or within one
            worker.process.join()
            del self.busy[id]
            bury(self.root, id)
            return Event(id, "died", error=f"its worker process died with exit code {worker.process.exitcode}")
        if event.stage in ENDS:
            self.free.append(self.busy.pop(id))
        return event

    def stop(self) -> None:
        for worker in (*self.free, *self.busy.values()):
            worker.process.kill()
            worker.process.join()
            worker.line.close()
        for id in self.busy:
            bury(self.root, id)


def hired(work: Callable[[Connection, Any], None], given: Any) -> tuple[SpawnProcess, Connection]:
    """A new process of one thread that does `work` with `given`, and the line to it."""
    context = multiprocessing.get_context("spawn")
    os.environ["OMP_NUM_THREADS"] = "1"
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs, given), daemon=True)
    process.start()
    theirs.close()  # or its death would not end the line
    return process, ours


def _serve(work: Callable[[Connection, Any], None], line: Connection, given: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work(line, given)


def _work(line: Connection, root: Path) -> None:
    while True:
        line.send(do(line.recv(), root, line.send))


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers; without it, a worker would go on beside those of the next start."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
