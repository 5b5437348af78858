"""What a run's training had to compute and what it computed, what it held in memory, and how fast it was."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.plan import Finetune, Inject
from workbench.training.flops import matmul_rate, training_flops, untouched
from workbench.training.memory import Memory, held, step_bytes, weights_of
from workbench.training.pieces import Divided
from workbench.training.ready import Ready


def effort(plan: Finetune | Inject, start: Ready) -> dict[str, int]:
    """`required_flops` and `executed_flops` of the whole training, counted on its first batch; no trace is left of it.

    Empty where batches are computed in pieces: a count of one piece is not that of a batch.
    """
    if plan.compute.pieces > 1:
        return {}
    lesson = start.lesson
    with torch.random.fork_rng(devices=[]), start.spot.autocast():
        batch = next(lesson.batches(0))
        work = training_flops(start.policy, batch, lesson.loss, changing=list(lesson.changing().values()))
    steps = plan.budget.steps
    return {"required_flops": work.required * steps, "executed_flops": work.executed * steps}


def first_step_bytes(plan: Finetune | Inject, start: Ready) -> int | None:
    """What the first batch, its gradients and its activations take at their peak in this process.

    It is computed once more, and no trace is left of it. None where tensors are going to be sharded.
    """
    if plan.compute.sharding == "full":
        return None
    lesson, model = start.lesson, start.lesson.model

    def pieces() -> Sequence[Any]:
        batch = next(lesson.batches(0))
        return [piece.batch for piece in batch.pieces] if isinstance(batch, Divided) else [batch]

    def loss(batch: Any) -> Mapping[str, Tensor]:
        with start.spot.autocast():
            return lesson.loss(batch)

    with untouched(list(model.parameters()), list(lesson.changing().values())):
        return step_bytes(pieces, loss, kind=start.spot.device.type)


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


def memory(start: Ready, step: int | None, optimiser: Mapping[str, Tensor]) -> dict[str, Any]:
    """The peak of a training whose first batch took `step` bytes and whose optimiser keeps those tensors."""
    return {} if step is None else Memory(weights_of(start.lesson.model), held(optimiser.values()), step).as_json()


def pace(counted: dict[str, int], start: Ready, *, samples: int, seconds: float) -> dict[str, float]:
    """Samples a second, `waste` (executed over required), and `mfu`: required operations a second over the rate at
    which this machine multiplies matrices."""
    found = {"samples_per_second": round(samples / seconds, 3)}
    if counted:
        rate = matmul_rate(start.spot.device, start.spot.dtype)
        found["waste"] = round(counted["executed_flops"] / counted["required_flops"], 4)
        found["mfu"] = round(counted["required_flops"] / seconds / rate, 4)
    return found
