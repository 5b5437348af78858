"""The one training loop: for policies, for injection and for the embedded backbone's pretraining.

It knows no slots, no arms and no files: it takes a module, batches and a loss, and yields steps.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from workbench.errors import NotFinite
from workbench.plan import Budget

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Step:
    """One optimiser step: `loss` sums `parts`; `grad_norm` is measured before clipping; `seconds` are wall-clock."""

    index: int
    loss: float
    parts: Mapping[str, float]
    grad_norm: float
    learning_rate: float
    seconds: float


def learning_rate(budget: Budget, step: int) -> float:
    """Linear warm-up, then cosine to zero or constant."""
    if step < budget.warmup_steps:
        return budget.learning_rate * (step + 1) / (budget.warmup_steps + 1)
    if budget.schedule == "constant":
        return budget.learning_rate
    share = (step - budget.warmup_steps) / max(1, budget.steps - budget.warmup_steps)
    return budget.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def train(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    loss: Callable[[Batch], Mapping[str, Tensor]],
    budget: Budget,
    rate_of: Callable[[str], float] = lambda name: 1.0,
    after_backward: Callable[[], None] = lambda: None,
) -> Iterator[Step]:
    """Trains what of `model` requires a gradient for `budget.steps` steps and yields each.

    `rate_of` gives, for a parameter's name, the factor on the learning rate. Raises `NotFinite`, naming step, loss and
    batch, before the optimiser could use a NaN.
    """
    moving = [p for p in model.parameters() if p.requires_grad]
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(rate_of(name), []).append(parameter)
    factors = [{"params": group, "factor": factor} for factor, group in groups.items()]
    optimiser = torch.optim.AdamW(factors, lr=budget.learning_rate, weight_decay=budget.weight_decay, fused=True)
    endless = iter(batches)
    for index in range(budget.steps):
        batch, started = next(endless), time.perf_counter()
        rate = learning_rate(budget, index)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        optimiser.zero_grad()
        parts = loss(batch)
        total = torch.stack(list(parts.values())).sum()
        figures = {name: float(part.detach()) for name, part in parts.items()}
        if not torch.isfinite(total):
            raise NotFinite(f"loss is not finite at step {index}: {figures}, {batch}")
        total.backward()
        norm = float(nn.utils.clip_grad_norm_(moving, budget.clip_norm))
        if not math.isfinite(norm):
            raise NotFinite(f"gradient is not finite at step {index}: {figures}, {batch}")
        after_backward()
        optimiser.step()
        yield Step(index, float(total.detach()), figures, norm, rate, time.perf_counter() - started)
