"""Processes of this machine, as Linux tells of them in /proc."""

import time
from collections.abc import Callable
from pathlib import Path


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def at_work(pid: int) -> list[int]:
    """Its children that have begun to load torch: worker processes past their first lines.

    Their command line is looked at too: for a moment, any child of a process that holds torch holds it as well.
    """
    workers = [child for child in children(pid) if "spawn_main" in _about(child, "cmdline")]
    return [worker for worker in workers if "libtorch" in _about(worker, "maps")]


def alive(pid: int) -> bool:
    status = _about(pid, "status")
    return status != "" and "State:\tZ" not in status


def open_files(pid: int) -> list[Path]:
    return [file.resolve() for file in Path(f"/proc/{pid}/fd").iterdir()]


def until(holds: Callable[[], object], seconds: float = 120.0) -> bool:
    """Whether it came to hold within that time."""
    stop = time.monotonic() + seconds
    while not holds() and time.monotonic() < stop:
        time.sleep(0.02)
    return bool(holds())


def _about(pid: int, what: str) -> str:
    try:
        return Path(f"/proc/{pid}/{what}").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it is gone
        return ""
