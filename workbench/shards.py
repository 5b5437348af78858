"""Episodes played in worker processes: rounds of starts are given out, outcomes come back as episodes end.

A round is a function of the order of the starts alone, and one worker plays it whole: an outcome is the same, bit for
bit, however many workers there are. No torch is imported here: workers do that.
"""

import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from workbench.benchmarks.contract import Outcome, Protocol, Start
from workbench.benchmarks.rules import rules_of
from workbench.engines.local import hired
from workbench.errors import RunFailed, UserError

Play = Callable[[Sequence[Start]], Iterator[Outcome]]
"""Plays the episodes of one round and yields their outcomes as they end."""
SHARE = 16  # rounds that a long manifest is cut into at least: the last ones fill the workers evenly


class Performer(ABC):
    """Whoever plays, as it is sent to a worker: small, and opened there."""

    @abstractmethod
    def opened(self) -> AbstractContextManager[Play]:
        """Loads what it takes to play, and closes it. Raises UserError where it cannot be played."""


@dataclass(frozen=True)
class FolderPerformer(Performer):
    """The policy in a folder plays a protocol's episodes."""

    folder: Path
    protocol: Protocol
    device: str = "auto"

    @contextmanager
    def opened(self) -> Iterator[Play]:
        from workbench.benchmarks.registry import open_env
        from workbench.evaluate import check_chunk, check_told
        from workbench.plan import Inputs
        from workbench.publish import load_policy
        from workbench.restarts import play_on

        player, _ = load_policy(self.folder, device=self.device)
        check_chunk(player, self.protocol)
        check_told(player, self.protocol, Inputs())
        manifest, fed = self.protocol.manifest(), deque[Sequence[Start]]()
        size = round_size(len(manifest), rules_of(self.protocol.benchmark).rows)
        episodes = play_on(lambda: open_env(self.protocol, size), player, Inputs(), iter(fed.popleft, None))

        def play(starts: Sequence[Start]) -> Iterator[Outcome]:
            fed.append(starts)
            for _ in starts:
                yield next(episodes).outcome

        with closing(episodes):
            yield play


@dataclass(frozen=True)
class Round:
    """Starts that `who` plays side by side; `wanted` are those whose outcomes are not known yet.

    A round is played whole or not at all: so what is missing of it ends as it would have without a break.
    """

    who: str
    starts: tuple[Start, ...]
    wanted: frozenset[Start]
    died: bool = False


@dataclass(frozen=True)
class Told:
    """One episode of one of those who play."""

    who: str
    outcome: Outcome

    @property
    def start(self) -> Start:
        return Start(self.outcome.task, self.outcome.initial_state, self.outcome.seed)


def round_size(episodes: int, rows: int) -> int:
    """How many of so many episodes are played side by side, where `rows` can be."""
    return max(1, min(rows, -(-episodes // SHARE)))


def rounds_of(who: str, starts: Sequence[Start], protocol: Protocol, *, known: Container[Start] = ()) -> list[Round]:
    """All `starts`, in their order, in rounds of one size; those that are `known` are played and not told."""
    size = round_size(len(starts), rules_of(protocol.benchmark).rows)
    blocks = [tuple(starts[first : first + size]) for first in range(0, len(starts), size)]
    return [Round(who, block, frozenset(start for start in block if start not in known)) for block in blocks]


def longest_first(protocol: Protocol) -> list[Start]:
    """The manifest, tasks of the longest horizon first: none of them begins when the others are done."""
    horizons = rules_of(protocol.benchmark).horizons
    return sorted(protocol.manifest(), key=lambda start: -horizons[start.task])


def perform(
    performers: Mapping[str, Performer], rounds: Sequence[Round], *, workers: int | None
) -> Generator[Told, None, None]:
    """The wanted outcomes of all rounds as they come: from this process, or from `workers` others.

    Closing the iterator (or Ctrl-C) ends the workers. A worker that dies leaves its round to another one, once. Raises
    UserError where a round's worker dies twice, and where its performer cannot play.
    """
    rounds = [one for one in rounds if one.wanted]
    if workers is None:
        yield from _here(performers, rounds)
        return
    crew = _Crew(performers, deque(rounds))
    try:
        while crew.work(workers):
            if told := crew.listen():
                yield told
    finally:
        crew.stop()


def _here(performers: Mapping[str, Performer], rounds: Sequence[Round]) -> Iterator[Told]:
    with ExitStack() as stack:
        opened: dict[str, Play] = {}
        for one in rounds:
            if one.who not in opened:
                opened[one.who] = stack.enter_context(performers[one.who].opened())
            told = (Told(one.who, outcome) for outcome in opened[one.who](one.starts))
            yield from (each for each in told if each.start in one.wanted)


@dataclass(frozen=True)
class _Worker:
    """A process and its own line: one that is killed holds no lock that others wait for."""

    process: SpawnProcess
    line: Connection


class _Crew:
    """Who plays which round, and which rounds wait."""

    def __init__(self, performers: Mapping[str, Performer], waiting: deque[Round]):
        self.performers, self.waiting = performers, waiting
        self.hired: list[_Worker] = []
        self.free: list[_Worker] = []
        self.busy: list[tuple[_Worker, Round]] = []

    def work(self, workers: int) -> bool:
        """Give out as many rounds as there are workers; whether anyone plays."""
        while self.waiting and len(self.busy) < workers:
            self.free = [worker for worker in self.free if worker.process.is_alive()]
            if not self.free:
                self.hired.append(_Worker(*hired(_work, self.performers)))
                self.free.append(self.hired[-1])
            worker = self.free.pop()
            one = self.waiting.popleft()
            self.busy.append((worker, one))
            with suppress(OSError):  # it died between two rounds; listening tells so
                worker.line.send((one.who, one.starts))
        return bool(self.busy)

    def listen(self) -> Told | None:
        """The next outcome that is wanted; None where something else was told."""
        ready = wait([worker.line for worker, _ in self.busy])
        place = next(place for place, (worker, _) in enumerate(self.busy) if worker.line in ready)
        worker, one = self.busy.pop(place)
        try:
            said = worker.line.recv()
        except (EOFError, OSError):
            return self._replace(worker, one)
        if isinstance(said, Exception):
            raise said
        if said is None:
            return self.free.append(worker)
        told = Told(one.who, said)
        self.busy.append((worker, replace(one, wanted=one.wanted - {told.start})))
        return told if told.start in one.wanted else None

    def _replace(self, worker: _Worker, one: Round) -> None:
        """Put what a dead worker played back, to the front. Raises UserError where it was put back before."""
        worker.process.join()
        if one.died:
            raise UserError(
                f"Two worker processes died, the last one with exit code {worker.process.exitcode}, while {one.who} "
                f"played {one.starts[0].task} {one.starts[0].initial_state} and those beside it: memory may have run "
                "out. Try fewer workers; what is recorded is kept."
            )
        if one.wanted:
            self.waiting.appendleft(replace(one, died=True))

    def stop(self) -> None:
        for worker in self.hired:
            worker.process.kill()
            worker.process.join()
            worker.line.close()


def _work(line: Connection, performers: Mapping[str, Performer]) -> None:
    opened: dict[str, Play] = {}
    with ExitStack() as stack:
        while True:
            who, starts = line.recv()
            try:
                if who not in opened:
                    opened[who] = stack.enter_context(performers[who].opened())
                for outcome in opened[who](starts):
                    line.send(outcome)
                line.send(None)
            except Exception as error:
                line.send(_sendable(error))


def _sendable(error: Exception) -> Exception:
    """A user's mistake and a simulator's failure are told in a sentence, our own mistakes with their traceback."""
    if isinstance(error, UserError | RunFailed):
        return UserError(str(error))
    return RuntimeError("".join(traceback.format_exception(error)))
