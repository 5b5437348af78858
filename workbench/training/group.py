"""The processes that compute a run together, as one of them sees them."""

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as together
from torch import nn
from torch.distributed import FileStore, Store  # pyright: ignore[reportPrivateImportUsage]  # exported by a star

from workbench.errors import RunFailed, UserError

BUCKET = 2**23
"""Numbers that are sent at once."""
PATIENCE = timedelta(minutes=30)
"""How long one process waits for another: longer than a large checkpoint takes to be written."""


class ProcessLost(UserError):
    """A process that the others need has gone, or is silent. The run is not recorded: it can go on."""


@dataclass(frozen=True)
class Group:
    """`size` processes, this one being number `rank`; `device` is where what they send each other has to lie.

    Every process calls the same methods in the same order. They raise `ProcessLost` where one of them is gone.
    """

    rank: int
    size: int
    device: torch.device

    def pieces(self, of: int) -> range:
        """Which `of` the pieces of a batch this process computes."""
        return range(self.rank, of, self.size)

    def summed(self, figures: Mapping[str, float], parameters: Sequence[nn.Parameter]) -> dict[str, float]:
        """The figures' sums over all processes; the parameters' gradients become their sums.

        A parameter that has no gradient in any process is left without one.
        """
        if self.size == 1:
            return dict(figures)
        told = [*figures.values(), *(float(p.grad is not None) for p in parameters)]
        sums = torch.tensor(told, dtype=torch.float64, device=self.device)
        with _lost_in_a_sentence():
            together.all_reduce(sums)
            found = sums.tolist()
            moving = [p for p, count in zip(parameters, found[len(figures) :], strict=True) if count]
            for bucket in _buckets(moving):
                _sum_gradients(bucket)
        return dict(zip(figures, found, strict=False))

    def united(self, names: Set[str]) -> set[str]:
        """What is in any process's `names`."""
        return set(names).union(*self.all(sorted(names)))

    def all(self, value: Any) -> list[Any]:
        """What each process gives as `value`, the first one's first."""
        found: list[Any] = [value] * self.size
        if self.size > 1:
            with _lost_in_a_sentence():
                together.all_gather_object(found, value)
        return found

    def told(self, value: Any) -> Any:
        """What the first process gives as `value`."""
        if self.size == 1:
            return value
        box = [value]
        with _lost_in_a_sentence():
            together.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def agree(self, value: Any, what: str) -> None:
        """Raises RunFailed where the processes do not all give the same `value`."""
        found = self.all(value)
        if any(other != value for other in found):
            raise RunFailed(f"the processes that compute this run differ in {what}: {found}")


ALONE = Group(0, 1, torch.device("cpu"))


@contextmanager
def joined(rank: int, size: int, *, meeting: Path | Store, kind: str, alone: bool = True) -> Iterator[Group]:
    """The group of `size` processes that meet in a file or a store, seen by number `rank`; `alone`: on one machine."""
    if alone:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # nobody else is to join
    store = FileStore(str(meeting.resolve()), size) if isinstance(meeting, Path) else meeting
    backend = "nccl" if kind == "cuda" else "gloo"
    together.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield Group(rank, size, torch.device(kind))
    finally:
        together.destroy_process_group()


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """All of them, in order, in lists of one type and of about `BUCKET` numbers."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        full = sum(p.numel() for p in bucket) + parameter.numel() > BUCKET
        if bucket and (full or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def _sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([grad.flatten() for grad in grads])
    together.all_reduce(flat)
    for parameter, grad in zip(parameters, flat.split([grad.numel() for grad in grads]), strict=True):
        parameter.grad = grad.view_as(parameter)


@contextmanager
def connected() -> Iterator[None]:
    """For what computes and talks to the other processes: `ProcessLost` where a connection is closed or silent."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, together.DistError) and "gloo" not in str(error):
            raise
        raise _lost(error) from error


@contextmanager
def _lost_in_a_sentence() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch has no other for a connection that is closed or silent
        raise _lost(error) from error


def _lost(error: RuntimeError) -> ProcessLost:
    return ProcessLost(f"A process of this run is gone, or silent for too long ({_first_line(error)}).")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
