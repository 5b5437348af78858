"""What a run's training had to compute, what it computed, and how much of the machine that used."""

import torch

from workbench.plan import Finetune, Inject
from workbench.training.flops import matmul_rate, training_flops
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


def pace(counted: dict[str, int], start: Ready, *, samples: int, seconds: float) -> dict[str, float]:
    """Samples a second, `waste` (executed over required), and `mfu`: required operations a second over the rate at
    which this machine multiplies matrices."""
    found = {"samples_per_second": round(samples / seconds, 3)}
    if counted:
        rate = matmul_rate(start.spot.device, start.spot.dtype)
        found["waste"] = round(counted["executed_flops"] / counted["required_flops"], 4)
        found["mfu"] = round(counted["required_flops"] / seconds / rate, 4)
    return found
