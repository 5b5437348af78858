"""Trains what a run is to learn, under audit; goes on where an earlier attempt was interrupted, to the same bits."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workbench.compute import Place
from workbench.plan import Finetune, Inject
from workbench.policy import Policy
from workbench.provenance import machine
from workbench.record import LEDGER, LOG, write_json
from workbench.training.checkpoint import Checkpoint, Keeper, generators, read_checkpoint, restore_generators
from workbench.training.group import ALONE, Group
from workbench.training.ledger import Audit, tensor_hash
from workbench.training.lesson import Lesson
from workbench.training.pieces import InPieces
from workbench.training.spread import spread
from workbench.training.train import Seconds, Step, Training, at_once

if TYPE_CHECKING:
    from workbench.training.shard_files import ShardFiles


@dataclass
class Fitted:
    """What came of it: the loss of every step, where time went, the steps after which it was `resumed`.

    `refused` names checkpoints that were of no use, and why. `processes` is by how many each attempt was computed.
    """

    losses: list[float] = field(default_factory=list)
    seconds: Seconds = Seconds()
    resumed: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)


class Fit:
    """One training of `policy` by `lesson`, in the folder of its run, by the processes of `group`.

    The first of them calls `run`, the others `follow`; each has the same plan and built the same policy.
    """

    def __init__(
        self,
        plan: Finetune | Inject,
        policy: Policy,
        lesson: Lesson,
        spot: Place,
        folder: Path,
        group: Group = ALONE,
    ):
        self.plan, self.policy, self.lesson, self.spot, self.folder = plan, policy, lesson, spot, folder
        self.group, self.shards = group, _shard_files(group) if plan.compute.sharding == "full" else None
        self.audit = Audit(policy, plan.spec, still=lesson.still)
        self.spread = spread(plan, policy, group)
        self.training = Training(
            lesson.model,
            budget=plan.budget,
            rate_of=lambda name: lesson.rate_of(name, plan.spec),
            compute=InPieces(lesson.model, group, list(policy.places.values())) if plan.compute.pieces > 1 else at_once,
            clip=self.spread.clip,
        )
        self.keeper = Keeper(folder)
        self.fitted = Fitted(refused=self.keeper.refused, processes=[group.size])

    def run(self, told: Callable[[int], None]) -> Fitted:
        """Trains to the end, writes log and ledger. `told` is given the number of steps that are done."""
        with self._seeded():
            checkpoint = self.keeper.latest(self._misfit)
            self.group.told(checkpoint and checkpoint.path.name)
            if checkpoint:
                self._take_up(checkpoint)
            with (self.folder / LOG).open("a", buffering=1) as log:
                log.truncate(len(_first_rows(self.folder / LOG, self.training.done)))
                for step in self._steps():
                    log.write(json.dumps(_logged(step)) + "\n")
                    self.fitted.losses.append(step.loss)
                    self.fitted.seconds += step.seconds
                    told(self.training.done)
                    if self._told_that_due():
                        os.fsync(log.fileno())
                        self._keep()
        self._agree("the weights that they end with")
        self.spread.end()
        write_json(self.folder / LEDGER, self.audit.close(self.policy).as_json())
        return self.fitted

    def follow(self) -> None:
        """The same steps beside the process that calls `run`, which has read its checkpoint; writes but its shards."""
        with self._seeded():
            if name := self.group.told(None):
                self._take_up(read_checkpoint(self.keeper.folder / name))
            for _ in self._steps():
                if self.shards and (room := self.group.told(None)):
                    self.shards.write(self._tensors(), Path(room))
        self._agree("the weights that they end with")
        self.spread.end()

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.plan.seed)  # layers that draw while they train (dropout) know the global generator
            yield

    def _steps(self) -> Iterator[Step]:
        self._agree("what they start from")
        return self.training.steps(
            self.lesson.batches(self.training.done),
            self._loss,
            after_backward=lambda: self.audit.after_backward(self.policy, self.spread.alive),
        )

    def _agree(self, what: str) -> None:
        if self.group.size > 1:
            changing = self.lesson.changing().items()
            weights = tensor_hash((name, each) for name, each in changing if type(each) in (Tensor, nn.Parameter))
            self.group.agree([self.training.done, self.audit.before, weights], what)

    def _loss(self, batch: Any) -> Mapping[str, Tensor]:
        with self.spot.autocast():
            return self.lesson.loss(batch)

    def _told_that_due(self) -> bool:
        """Whether a checkpoint is due, which the others are told where they take part in it."""
        due = self.keeper.due()
        if self.shards:
            self.group.told(str(self.keeper.room()) if due else "")
        return due

    def _keep(self) -> None:
        if self.shards:
            write = partial(self.shards.write, self._tensors())
            self.keeper.keep_shards(self.training.done, self._facts(), write=write)
        else:
            self.keeper.keep(Checkpoint(self.training.done, self._tensors(), self._facts()))

    def _tensors(self) -> dict[str, Tensor]:
        parts = {
            "module": self.lesson.changing(),
            "optimiser": self.training.state(),
            "generator": generators(self.policy.places.values()),
        }
        return {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}

    def _facts(self) -> dict[str, Any]:
        return {
            "machine": machine(),
            "log_sha256": self._log_hash(self.training.done),
            "audit": self.audit.state(),
            "seconds": asdict(self.fitted.seconds),
            "resumed": self.fitted.resumed,
            "processes": self.fitted.processes,
        }

    def _misfit(self, checkpoint: Checkpoint) -> str:
        """Why a whole checkpoint cannot be gone on from, or ""."""
        if checkpoint.facts["machine"] != machine():
            return "written by other code, other packages or another number of threads"
        if checkpoint.facts["audit"]["before"] != self.audit.before:
            return "the weights that training starts from are others now"
        if checkpoint.facts["log_sha256"] != self._log_hash(checkpoint.step):
            return "the log of its steps was lost or altered"
        return ""

    def _log_hash(self, steps: int) -> str:
        return hashlib.sha256(_first_rows(self.folder / LOG, steps)).hexdigest()

    def _take_up(self, checkpoint: Checkpoint) -> None:
        if self.shards:
            checkpoint = replace(checkpoint, tensors=self.shards.read(checkpoint.path, self._like))
        found = checkpoint.under("module")
        with torch.no_grad():
            for name, tensor in self.lesson.changing().items():
                tensor.copy_(found[name])
        self.training.take_up(checkpoint.step, checkpoint.under("optimiser"))
        restore_generators(checkpoint.under("generator"))
        self.audit.take_up(checkpoint.facts["audit"])
        rows = _first_rows(self.folder / LOG, checkpoint.step).splitlines()
        self.fitted.losses = [json.loads(row)["train/loss"] for row in rows]
        self.fitted.seconds = Seconds(**checkpoint.facts["seconds"])
        self.fitted.resumed = [*checkpoint.facts["resumed"], checkpoint.step]
        self.fitted.processes = [*checkpoint.facts["processes"], self.group.size]

    def _like(self, key: str, size: torch.Size, dtype: torch.dtype) -> Tensor:
        """Where a checkpoint's tensor is read into: it is sharded as the parameter is that it is, or belongs to."""
        part, _, name = key.partition(".")
        owner = self.lesson.changing().get(name if part == "module" else name.rpartition(".")[0])
        if owner is None or owner.shape != size:
            return torch.empty(size, dtype=dtype)
        return torch.empty_like(owner, dtype=dtype, requires_grad=False)


def _shard_files(group: Group) -> "ShardFiles":
    from workbench.training.shard_files import ShardFiles  # two seconds of imports

    return ShardFiles(group)


def _first_rows(log: Path, steps: int) -> bytes:
    """The log of the first `steps` steps, or as much of it as is there."""
    return b"".join(log.read_bytes().splitlines(keepends=True)[:steps]) if log.is_file() else b""


def _logged(step: Step) -> dict[str, float]:
    row = {"train/step": step.index, "train/loss": step.loss, "train/grad_norm": step.grad_norm}
    row |= {"train/lr": step.learning_rate, "train/update_s": round(step.seconds.update, 5)}
    row |= {"train/data_s": round(step.seconds.data, 5)}
    return row | {f"train/{name}": part for name, part in step.parts.items()}
