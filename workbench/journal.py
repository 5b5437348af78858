"""What an evaluation has played so far: one line an episode, written as it ends, read again when it is resumed."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any

from workbench.benchmarks.contract import Outcome, Start
from workbench.errors import UserError
from workbench.record import EPISODES

WHOSE = {"manifest": "other episodes or rules", "policy": "another policy"}


@dataclass(frozen=True)
class Journal:
    """An open `episodes.jsonl`: what it holds already, and the file that more is appended to."""

    played: dict[Start, Outcome]
    file: BufferedRandom

    def add(self, outcome: Outcome) -> None:
        """Append one episode; it survives the end of this process, however it ends."""
        _append(self.file, outcome.as_json())


@contextmanager
def open_journal(folder: Path, *, manifest: str, policy: str) -> Iterator[Journal]:
    """The journal in `folder` of this policy's play of this manifest, begun where there is none.

    A last line that was torn off in writing is dropped. Raises UserError for a journal of something else, one that was
    damaged, and one that another process writes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, head = folder / EPISODES, {"manifest": manifest, "policy": policy}
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"Another process is playing into {folder}: wait for it, or name another folder."
            ) from error
        file.seek(0)
        whole, end, _ = file.read().rpartition(b"\n")
        file.truncate(len(whole) + len(end))
        lines = whole.splitlines()
        if lines:
            _check(lines[0], head, path)
        else:
            _append(file, head)
        yield Journal(_episodes(lines[1:], path), file)


def _append(file: BufferedRandom, value: dict[str, Any]) -> None:
    file.write(json.dumps(value).encode() + b"\n")
    file.flush()


def _check(line: bytes, head: dict[str, str], path: Path) -> None:
    found = _read(line, 1, path)
    if set(found) != set(head):
        raise UserError(f"{path} is no journal of an evaluation: name another folder.")
    for key, wanted in head.items():
        if found[key] != wanted:
            raise UserError(
                f"{path} holds what was played with {WHOSE[key]} ({key} {found[key]}, not {wanted}): "
                f"name another folder, or delete {path.parent} to begin anew."
            )


def _episodes(lines: list[bytes], path: Path) -> dict[Start, Outcome]:
    played: dict[Start, Outcome] = {}
    for number, line in enumerate(lines, 2):
        try:
            outcome = Outcome(**_read(line, number, path))
        except TypeError as error:
            raise _damaged(path, number) from error
        played[Start(outcome.task, outcome.initial_state, outcome.seed)] = outcome
    return played


def _read(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError) as error:
        raise _damaged(path, number) from error


def _damaged(path: Path, number: int) -> UserError:
    return UserError(f"{path}, line {number}, is damaged: delete the line to play its episode again, or {path.parent}.")
