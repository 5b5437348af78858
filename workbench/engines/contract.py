"""What an engine promises, and what is said between those who give out work and those who do it."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from workbench.plan import Job


@dataclass(frozen=True)
class Event:
    """What is told of a job: `stage` with `done` of `total`.

    The stage `recorded` ends a run or a collection; `broken`, with `error`, ends it too. `elsewhere` is told of no job,
    once: all of the `total` jobs that are left are being done by other processes, and are waited for.
    """

    run: str
    stage: str
    done: int = 0
    total: int = 0
    error: str = ""


class Engine(Protocol):
    """Carries out what of `jobs` is not recorded under `root`, dependencies first, and yields events as they come.

    What another process has claimed is left to it, and done here if it dies. A run that breaks stays missing, and so do
    those that need it. A full disk stops everything: OSError. Closing the iterator (or Ctrl-C) ends all that was
    started: only the runs in progress are lost. The same records come of every engine.
    """

    def __call__(self, jobs: Sequence[Job], root: Path) -> Generator[Event, None, None]: ...


@dataclass(frozen=True)
class Order:
    """A job to do, whose claims up to the generation `over` nobody holds."""

    id: str
    job: Job
    over: int


ENDS = ("recorded", "broken", "taken", "died", "disk-full")
"""Stages that end an order. Whoever gives it out keeps three to himself: `taken` (another process claimed the job
first), `died` (its worker did; `error` says how) and `disk-full` (`error` names the file)."""


class Crew(ABC):
    """Those who do an engine's work."""

    deaths: int
    """How many workers may die with one job before it is broken; more than 1: it is given out again."""

    @abstractmethod
    def room(self) -> int:
        """How many more orders can be given."""

    @abstractmethod
    def start(self, orders: Sequence[Order]) -> None:
        """Give out orders, at most as many as there is room for."""

    @abstractmethod
    def listen(self, seconds: float) -> Event | None:
        """The next event; None where nothing was told for so long."""

    @abstractmethod
    def stop(self) -> None:
        """End everything that was started, finished or not."""
