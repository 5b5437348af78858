"""The other processes of a run: started by the one that executes it, and gone with it, unless torchrun started all.

They are interpreters of their own on the same machine. Each builds the same policy from the same plan, computes its
pieces of every batch, and makes the same steps; only the first has a log, a ledger, checkpoints and weights.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from workbench.compute import place
from workbench.errors import UserError
from workbench.launch import launched
from workbench.plan import Finetune, Inject
from workbench.training.group import ALONE, Group, ProcessLost, joined

HERE = "here"
"""What a process says when it has loaded torch and understood its orders."""
GRACE = 1.0
"""Seconds in which a process whose connection is gone comes to its end."""
REMEDY = "Start again: it goes on after its last checkpoint."
COMMAND = ("-P", "-c", "import sys; from workbench.training.follow import follow; follow(sys.stdin.buffer)")


@dataclass(frozen=True)
class _Follower:
    """Its orders go through a line that stays open as long as it is to live."""

    rank: int
    process: subprocess.Popen[bytes]
    complaints: IO[bytes]

    def awaited(self) -> None:
        """Returns when it is about to join. Raises `ProcessLost` where it will not."""
        assert self.process.stdout
        if not self.process.stdout.readline():
            raise ProcessLost("A process of this run did not start.")

    def end(self) -> str:
        """How it ended by itself, in words, or ""; it is gone afterwards."""
        code = self.process.poll()
        self.process.kill()
        self.process.wait()
        self.complaints.seek(0)
        last = self.complaints.read().decode(errors="replace").strip().splitlines()[-1:]
        for file in (self.process.stdin, self.process.stdout, self.complaints):
            assert file
            with suppress(BrokenPipeError):  # orders that it did not live to read
                file.close()
        reason = "".join(f" ({line})" for line in last)
        return f"Process {self.rank} ended with exit code {code}{reason}." if code else ""


@contextmanager
def hired(plan: Finetune | Inject, root: Path) -> Iterator[Group]:
    """The group of the plan's processes, of which this is the first; the others end with the block, however it ends.

    Those that torchrun has started are the group, whatever number the plan gives, and remain. Raises `ProcessLost`,
    naming it, where one of them died, and UserError where there is no GPU for each.
    """
    if launch := launched():
        from workbench.training.together import gathered

        with gathered(plan, root, launch) as group:
            yield group
        return
    size = plan.compute.processes
    if size == 1:
        yield ALONE
        return
    kind = place(plan.compute).device.type
    followers: list[_Follower] = []
    with tempfile.TemporaryDirectory() as folder:
        orders = {"plan": plan.model_dump(mode="json"), "root": str(root.resolve()), "kind": kind}
        orders |= {"meeting": str(Path(folder) / "meeting")}
        try:
            for rank, variables in enumerate(_surroundings(kind, size)[1:], start=1):
                followers.append(_hire(rank, orders, variables))
            for follower in followers:
                follower.awaited()
            with joined(0, size, meeting=Path(orders["meeting"]), kind=kind) as group:
                yield group
        except ProcessLost as error:
            time.sleep(GRACE)
            ends = [said for follower in followers if (said := follower.end())]
            followers = []
            raise ProcessLost(f"{error} {' '.join(ends) or 'None of them ended.'} {REMEDY}") from error
        finally:
            for follower in followers:
                follower.end()


def _hire(rank: int, orders: Mapping[str, Any], variables: Mapping[str, str]) -> _Follower:
    complaints = tempfile.TemporaryFile()
    process = subprocess.Popen(
        [sys.executable, *COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
    )
    assert process.stdin
    with suppress(BrokenPipeError):  # it died by now; waiting for it tells so
        process.stdin.write(json.dumps({**orders, "rank": rank}).encode() + b"\n")
        process.stdin.flush()
    return _Follower(rank, process, complaints)


def _surroundings(kind: str, size: int) -> list[dict[str, str]]:
    """The environment variables of each process: as many threads as this one has, and a GPU of its own."""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    if kind == "cpu":
        return [threads] * size
    there = torch.cuda.device_count()
    if there < size:
        raise UserError(
            f"compute.processes is {size}, each with a GPU of its own, but torch sees {there} here: give at most "
            f"{there}, or device = 'cpu'."
        )
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if len(names) < there:
        names = [str(index) for index in range(there)]
    return [threads | {"CUDA_VISIBLE_DEVICES": names[rank]} for rank in range(size)]
