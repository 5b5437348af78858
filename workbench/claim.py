"""Who does what: a file that one process holds while it carries out a job, so that nobody else does it too.

`ROOT/claims/<job id>.<generation>`. Whoever made the highest generation owns the job; whoever finds that generation
given back, or its owner dead, makes the next one. A file is made with O_EXCL: of any number that try, on any number of
machines with one (network) file system, exactly one succeeds. Nothing is locked, renamed or kept in a database.

The highest generation is never removed before the job is recorded, or two could own the same one. Afterwards it may
be: whoever holds a claim looks again whether the job is recorded before it begins.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

BEAT = 5.0
"""Seconds between two heartbeats, which set the claim's time of modification."""
EXPIRY = 120.0
"""Seconds without a heartbeat after which an owner on another machine counts as dead."""
GIVEN_BACK = 0
"""The time of modification (nanoseconds since 1970) of a claim that nobody holds: it can be set on a full disk too."""


class Taken(Exception):
    """Another process has claimed the job."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a claim. `machine` is where its `pid` means something; `started` tells it from others."""

    machine: str
    pid: int
    started: int
    token: str

    def lives(self) -> bool:
        """Whether the process is still there: exact, but only on its own machine."""
        return _started(self.pid) == self.started


class Claim:
    """The right to carry out one job, kept by a heartbeat until it is closed."""

    def __init__(self, path: Path, beat: float = BEAT) -> None:
        self.path, self.beat, self.overtaken = path, beat, False
        self.beaten = _clock()
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._keep, daemon=True, name=f"claim {path.name}")
        self._heart.start()

    def check(self) -> None:
        """Raises Taken where the job is another's by now: this process was asleep for too long. Cheap enough to be
        called at every step: the disk is looked at only after a pause."""
        if self.overtaken or _clock() - self.beaten > 3 * self.beat:
            self.confirm()

    def confirm(self, cause: Exception | None = None) -> None:
        """The same, by what is on the disk at this moment: to be called before a result is written."""
        if self.overtaken or self._look():
            raise Taken(f"{self.path.name} was taken over") from cause

    def end(self) -> None:
        """Ends the heartbeat: nobody holds the claim any more."""
        self._over.set()
        self._heart.join()
        if not self.overtaken:
            _give_back(self.path)

    def _look(self) -> bool:
        id, _, generation = self.path.name.rpartition(".")
        self.overtaken = self.overtaken or _highest(self.path.parent, id) != int(generation)
        self.beaten = _clock()
        return self.overtaken

    def _keep(self) -> None:
        while not self._over.wait(self.beat) and not self.overtaken:
            try:
                self._look()
                os.utime(self.path)
            except FileNotFoundError:
                self.overtaken = True
            except OSError:  # a network file system that is away for a moment: others wait for EXPIRY
                continue


@contextmanager
def claimed(root: Path, id: str, *, over: int, beat: float = BEAT) -> Iterator[Claim]:
    """Holds the job `id`, whose claims up to the generation `over` nobody holds (see `Watch.vacant`).

    Raises Taken where another process was faster, at the start or, if this one sleeps for too long, later. An error
    within gives the job back; an end without one removes its claims: it is recorded.
    """
    path = _path(root, id, over + 1)
    _make(path)
    claim = Claim(path, beat)
    try:
        claim.confirm()
        yield claim
    except Exception as error:
        claim.confirm(error)  # whoever took over may have removed what was missed here
        raise
    finally:
        claim.end()
    if not claim.overtaken:
        for generation in range(1, over + 2):
            _path(root, id, generation).unlink(missing_ok=True)


class Watch:
    """Looks at the claims of others, and remembers since when (seconds of `clock`) each of them has not moved."""

    def __init__(self, root: Path, expiry: float = EXPIRY, clock: Callable[[], float] = time.monotonic) -> None:
        self.root, self.expiry, self.clock = root, expiry, clock
        self.still: dict[str, tuple[str, int, float]] = {}

    def vacant(self, id: str) -> int | None:
        """The highest generation of the job's claims, where nobody holds it (0: there is none); None where it is held.

        A process of this machine holds its claim as long as it lives. One of another machine, or one that cannot be
        read, has lost it when this process has seen it without a heartbeat for `expiry` seconds of its own clock.
        """
        generation = _highest(self.root / "claims", id)
        if generation == 0:
            return 0
        try:
            owner, moved = _read(_path(self.root, id, generation))
        except FileNotFoundError:  # just removed: the job is recorded
            return None
        if moved == GIVEN_BACK:
            return generation
        if owner is not None and owner.machine == _machine():
            return None if owner.lives() else generation
        return generation if self._expired(id, _path(self.root, id, generation).name, moved) else None

    def _expired(self, id: str, name: str, moved: int) -> bool:
        now = self.clock()
        if id not in self.still or self.still[id][:2] != (name, moved):
            self.still[id] = (name, moved, now)
        return now - self.still[id][2] >= self.expiry


def bury(root: Path, id: str) -> None:
    """Gives back what a dead process of this machine held: those on other machines need not wait for its heartbeat."""
    path = _path(root, id, _highest(root / "claims", id))
    if path.exists():
        owner, _ = _read(path)
        if owner is not None and owner.machine == _machine() and not owner.lives():
            _give_back(path)


def _give_back(path: Path) -> None:
    with suppress(FileNotFoundError):  # whoever took over has recorded the job and removed all claims
        os.utime(path, ns=(GIVEN_BACK, GIVEN_BACK))


def _path(root: Path, id: str, generation: int) -> Path:
    return root / "claims" / f"{id}.{generation:04d}"


def _highest(folder: Path, id: str) -> int:
    """0 where there is none. Reading a folder asks the server of a network file system, not this machine's memory."""
    try:
        names = [name.removeprefix(f"{id}.") for name in os.listdir(folder) if name.startswith(f"{id}.")]
    except FileNotFoundError:
        return 0
    return max((int(name) for name in names if name.isdigit()), default=0)


def _make(path: Path) -> None:
    """Raises Taken where it is there already. Until its content is written, it is a claim of another machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError as error:
        raise Taken(f"{path.name} is there already") from error
    owner = Owner(_machine(), os.getpid(), _started(os.getpid()) or 0, os.urandom(8).hex())
    try:
        os.write(file, json.dumps(asdict(owner)).encode())
    except OSError as error:  # the disk is full
        _give_back(path)
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(file)


def _read(path: Path) -> tuple[Owner | None, int]:
    """The owner, if it can be read, and the time of modification, of a file that is opened for it: so it is fresh."""
    with path.open("rb") as file:
        moved, content = os.fstat(file.fileno()).st_mtime_ns, file.read()
    try:
        return Owner(**json.loads(content)), moved
    except (ValueError, TypeError):
        return None, moved


@cache
def _machine() -> str:
    """Where process ids mean the same: one start of one kernel, one space of process ids, seen by one user."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')} {socket.gethostname()} {os.getuid()}"


def _started(pid: int) -> int | None:
    """When a process started, in ticks of the kernel; None where it has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else int(fields[18])


def _clock() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
