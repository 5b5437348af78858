"""What a run's training had to compute and what it computed, what it held in memory, and how fast it was."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench.plan import Finetune, Inject
from workbench.training.flops import Work, matmul_rate, required_flops, taken, untouched
from workbench.training.memory import Memory, held, weights_of
from workbench.training.pieces import Divided
from workbench.training.ready import Ready


@dataclass(frozen=True)
class FirstStep:
    """What the first batch took: the `work` of the whole training by it, and the bytes that were `held` at its peak.

    Bytes are of the batch, its gradients and its activations in this process; None where tensors are going to be
    sharded. `work` is None where batches are computed in pieces: a count of one process's is not that of a batch.
    """

    work: Work | None = None
    held: int | None = None

    def flops(self) -> dict[str, int]:
        return {"required_flops": self.work.required, "executed_flops": self.work.executed} if self.work else {}


def first_step(plan: Finetune | Inject, start: Ready) -> FirstStep:
    """The first batch is computed once more, and read for what it needs at least; no trace is left of it."""
    if plan.compute.sharding == "full":
        return FirstStep()
    lesson = start.lesson

    def pieces() -> list[Any]:
        batch = next(lesson.batches(0))
        return [piece.batch for piece in batch.pieces] if isinstance(batch, Divided) else [batch]

    def loss(batch: Any) -> Mapping[str, Tensor]:
        with start.spot.autocast():
            return lesson.loss(batch)

    with untouched(list(lesson.model.parameters()), list(lesson.changing().values())):
        step = taken(pieces, loss, kind=start.spot.device.type)
        if plan.compute.pieces > 1:
            return FirstStep(held=step.held)
        [batch] = pieces()
        required = sum(slot.total for slot in required_flops(start.policy, lambda: loss(batch)).values())
    return FirstStep(Work(required, step.executed) * plan.budget.steps, step.held)


class GpuPeak:
    """The most that torch's allocator holds on those GPUs from now on, all of them together."""

    def __init__(self, devices: Iterable[torch.device]) -> None:
        self.devices = {device for device in devices if device.type == "cuda"}
        for device in self.devices:
            torch.cuda.reset_peak_memory_stats(device)

    def as_json(self) -> dict[str, int]:
        """Empty where all is computed on the CPU."""
        peak = sum(torch.cuda.max_memory_allocated(device) for device in self.devices)
        return {"gpu_peak_bytes": peak} if self.devices else {}


def memory(start: Ready, step: FirstStep, optimiser: Mapping[str, Tensor]) -> dict[str, Any]:
    """The peak of a training whose first batch took `step` and whose optimiser keeps those tensors."""
    if step.held is None:
        return {}
    return Memory(weights_of(start.lesson.model), held(optimiser.values()), step.held).as_json()


def pace(step: FirstStep, start: Ready, *, samples: int, seconds: float) -> dict[str, float]:
    """Samples a second, `waste` (executed over required), and `mfu`: required operations a second over the rate at
    which this machine multiplies matrices."""
    found = {"samples_per_second": round(samples / seconds, 3)}
    if step.work:
        rate = matmul_rate(start.spot.device, start.spot.dtype)
        found["waste"] = round(step.work.waste, 4)
        found["mfu"] = round(step.work.required / seconds / rate, 4)
    return found
