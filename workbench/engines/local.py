"""Runs and collections on this machine, in a few worker processes: one thread each, started once, fed to the end."""

import errno
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from workbench.errors import UserError
from workbench.plan import Expert, Job, job_id, needs
from workbench.record import collected_folder, is_done


@dataclass(frozen=True)
class Event:
    """What a worker tells: `stage` with `done` of `total`.

    The stage `recorded` ends a run or a collection; `broken`, and `disk-full`, end it with `error`.
    """

    run: str
    stage: str
    done: int = 0
    total: int = 0
    error: str = ""


GPUS = Path("/proc/driver/nvidia/gpus")


def default_workers() -> int:
    """One worker a core, at most two: each keeps a policy and its demonstrations in memory. One beside a GPU."""
    return 1 if GPUS.is_dir() else min(2, len(os.sched_getaffinity(0)))


def carry_out(jobs: Sequence[Job], root: Path, *, workers: int) -> Iterator[Event]:
    """Carries out what of `jobs` is not recorded, dependencies first, and yields events as they come.

    Closing the iterator (or Ctrl-C) kills the workers: only the runs in progress are lost. A run whose dependency
    broke is skipped and stays missing. A full disk stops everything: OSError. With one worker, runs happen one after
    the other in one process.
    """
    waiting = {job_id(job): job for job in jobs if not is_done(root, job)}
    crew = _Crew(root)
    broken: set[str] = set()
    try:
        while waiting or crew.busy:
            for id, job in list(waiting.items()):
                if broken & set(needs(job)):
                    del waiting[id]
                    broken.add(id)
                    yield Event(id, "broken", error="a run that it needs broke")
                elif len(crew.busy) < workers and not (set(needs(job)) & (set(waiting) | set(crew.busy))):
                    crew.start(id, waiting.pop(id))
            if crew.busy:
                event = crew.listen()
                broken |= {event.run} if event.stage == "broken" else set()
                yield event
    finally:
        crew.stop()


@dataclass(frozen=True)
class _Worker:
    """A process and the line to it. Each has its own: one that is killed cannot hold a lock that others wait for."""

    process: SpawnProcess
    line: Connection


class _Crew:
    """Worker processes: who is free, who does what. They are hired when there is work for them."""

    def __init__(self, root: Path):
        self.root = root
        self.free: list[_Worker] = []
        self.busy: dict[str, _Worker] = {}

    def start(self, id: str, job: Job) -> None:
        self.free = [worker for worker in self.free if worker.process.is_alive()]
        worker = self.free.pop() if self.free else _Worker(*hired(_work, self.root))
        self.busy[id] = worker
        worker.line.send((id, job))

    def listen(self) -> Event:
        """The next event. A worker that died (killed, out of memory) breaks its run; the others go on."""
        ready = wait([worker.line for worker in self.busy.values()])
        id, worker = next((id, worker) for id, worker in self.busy.items() if worker.line in ready)
        self.busy[id] = self.busy.pop(id)  # to the end: whoever tells much does not drown the others
        try:
            event: Event = worker.line.recv()
        except (EOFError, OSError):  # the line ends between two events, or within one
            worker.process.join()
            del self.busy[id]
            return Event(id, "broken", error=f"its worker process died with exit code {worker.process.exitcode}")
        if event.stage == "disk-full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), event.error)
        if event.stage in ("recorded", "broken"):
            self.free.append(self.busy.pop(id))
        return event

    def stop(self) -> None:
        for worker in (*self.free, *self.busy.values()):
            worker.process.kill()
            worker.process.join()
            worker.line.close()


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
        id, job = line.recv()
        try:
            _do(job, root, lambda stage, done, total, id=id: line.send(Event(id, stage, done, total)))
            line.send(Event(id, "recorded"))
        except Exception as error:
            line.send(_ended(id, error, root / id))


def _do(job: Job, root: Path, report: Callable[[str, int, int], None]) -> None:
    if isinstance(job, Expert):
        from workbench.collect import collect

        collect(job, collected_folder(root, job), progress=lambda done, total: report("collecting", done, total))
    else:
        from workbench.execute import execute

        execute(job, root, report)


def _ended(id: str, error: Exception, folder: Path) -> Event:
    """A user's mistake and a full disk are told in a sentence, our own mistakes with their traceback."""
    match error:
        case UserError():
            return Event(id, "broken", error=str(error))
        case OSError(errno=errno.ENOSPC):
            return Event(id, "disk-full", error=str(error.filename or folder))
        case _:
            return Event(id, "broken", error="".join(traceback.format_exception(error)))


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers; without it, a worker would go on beside those of the next start."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
