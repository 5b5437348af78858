"""Trains what a run is to learn, under audit; goes on where an earlier attempt was interrupted, to the same bits."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.compute import Place
from workbench.plan import Finetune, Inject
from workbench.policy import Policy
from workbench.provenance import machine
from workbench.record import LEDGER, LOG, write_json
from workbench.training.checkpoint import Checkpoint, Keeper, generators, restore_generators
from workbench.training.group import ALONE, Group
from workbench.training.ledger import Audit, tensor_hash
from workbench.training.lesson import Lesson
from workbench.training.pieces import InPieces
from workbench.training.train import Seconds, Step, Training, at_once


@dataclass
class Fitted:
    """What came of it: the loss of every step, where time went, the steps after which it was `resumed`.

    `refused` names checkpoints that were of no use, and why.
    """

    losses: list[float] = field(default_factory=list)
    seconds: Seconds = Seconds()
    resumed: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


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
        self.group = group
        self.audit = Audit(policy, plan.spec, still=lesson.still)
        self.training = Training(
            lesson.model,
            budget=plan.budget,
            rate_of=lambda name: lesson.rate_of(name, plan.spec),
            compute=InPieces(lesson.model, group, list(policy.places.values())) if plan.compute.pieces > 1 else at_once,
        )
        self.keeper = Keeper(folder)
        self.fitted = Fitted(refused=self.keeper.refused)

    def run(self, told: Callable[[int], None]) -> Fitted:
        """Trains to the end, writes log and ledger. `told` is given the number of steps that are done."""
        with self._seeded():
            checkpoint = self.keeper.latest(self._misfit)
            self.group.told(checkpoint and checkpoint.step)
            if checkpoint:
                self._take_up(checkpoint)
            with (self.folder / LOG).open("a", buffering=1) as log:
                log.truncate(len(_first_rows(self.folder / LOG, self.training.done)))
                for step in self._steps():
                    log.write(json.dumps(_logged(step)) + "\n")
                    self.fitted.losses.append(step.loss)
                    self.fitted.seconds += step.seconds
                    told(self.training.done)
                    if self.keeper.due():
                        os.fsync(log.fileno())
                        self.keeper.keep(self._checkpoint())
        self._agree("the weights that they end with")
        write_json(self.folder / LEDGER, self.audit.close(self.policy).as_json())
        return self.fitted

    def follow(self) -> None:
        """The same steps beside the process that calls `run`, which has read its checkpoint; writes nothing."""
        with self._seeded():
            if self.group.told(None) is not None and (checkpoint := self.keeper.latest(lambda found: "")):
                self._take_up(checkpoint)
            for _ in self._steps():
                pass
        self._agree("the weights that they end with")

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
            after_backward=lambda: self.audit.after_backward(self.policy),
        )

    def _agree(self, what: str) -> None:
        if self.group.size > 1:
            weights = tensor_hash(self.lesson.changing().items())
            self.group.agree([self.training.done, self.audit.before, weights], what)

    def _loss(self, batch: Any) -> Mapping[str, Tensor]:
        with self.spot.autocast():
            return self.lesson.loss(batch)

    def _checkpoint(self) -> Checkpoint:
        parts = {
            "module": self.lesson.changing(),
            "optimiser": self.training.state(),
            "generator": generators(self.policy.places.values()),
        }
        tensors = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
        facts = {
            "machine": machine(),
            "log_sha256": self._log_hash(self.training.done),
            "audit": self.audit.state(),
            "seconds": asdict(self.fitted.seconds),
            "resumed": self.fitted.resumed,
        }
        return Checkpoint(self.training.done, tensors, facts)

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


def _first_rows(log: Path, steps: int) -> bytes:
    """The log of the first `steps` steps, or as much of it as is there."""
    return b"".join(log.read_bytes().splitlines(keepends=True)[:steps]) if log.is_file() else b""


def _logged(step: Step) -> dict[str, float]:
    row = {"train/step": step.index, "train/loss": step.loss, "train/grad_norm": step.grad_norm}
    row |= {"train/lr": step.learning_rate, "train/update_s": round(step.seconds.update, 5)}
    row |= {"train/data_s": round(step.seconds.data, 5)}
    return row | {f"train/{name}": part for name, part in step.parts.items()}
