"""Finished runs copied to a sink, each once: what was written is noted beside what was written."""

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workbench.record import file_hash, read_json, write_json
from workbench.sinks.contract import Logged, Sink


@dataclass(frozen=True)
class Mirrored:
    """How many runs were written, and how many had been before."""

    written: int
    before: int


def mirror(
    runs: Sequence[Logged], sink: Sink, folder: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Mirrored:
    """Write the runs that `folder` has no note of; a run that was carried out again is written again.

    Two processes that do so at once take turns. A call that is killed is made up for by the next one.
    """
    written = 0
    with _alone(folder):
        for done, run in enumerate(runs):
            progress(done, len(runs))
            note, whole = folder / f"{run.record.id}.json", file_hash(run.record.folder / "result.json")
            if note.is_file() and read_json(note)["result_sha256"] == whole:
                continue
            sink.write(run)
            write_json(note, {"run": run.record.id, "name": run.name, "result_sha256": whole})
            written += 1
    progress(len(runs), len(runs))
    return Mirrored(written, len(runs) - written)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
