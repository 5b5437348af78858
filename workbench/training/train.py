"""The one training loop: for policies, for injection and for the embedded backbone's pretraining.

It knows no slots, no arms and no files: it takes a module, batches and a loss, and yields steps.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workbench.errors import NotFinite
from workbench.plan import Budget

Loss = Callable[[Any], Mapping[str, Tensor]]
"""The parts of a batch's loss, which are summed."""


@dataclass(frozen=True)
class Seconds:
    """Wall-clock time by what it was spent on. On a GPU, which runs behind, the optimiser's is the next step's."""

    data: float = 0.0
    forward: float = 0.0
    backward: float = 0.0
    optimiser: float = 0.0

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    @property
    def update(self) -> float:
        """All but fetching the batch."""
        return self.forward + self.backward + self.optimiser

    @property
    def total(self) -> float:
        return self.data + self.update


@dataclass(frozen=True)
class Step:
    """One optimiser step: `loss` sums `parts`; `grad_norm` is measured before clipping."""

    index: int
    loss: float
    parts: Mapping[str, float]
    grad_norm: float
    learning_rate: float
    seconds: Seconds


@dataclass(frozen=True)
class Computed:
    """A batch's loss, the parts that it sums, and the seconds of its forward pass; gradients are where they belong."""

    loss: float
    parts: Mapping[str, float]
    forward: float


def at_once(batch: Any, loss: Loss) -> Computed:
    """The whole batch forward, then backward."""
    began = time.perf_counter()
    parts = loss(batch)
    total = torch.stack(list(parts.values())).sum()
    figures = {name: float(part.detach()) for name, part in parts.items()}
    forward = time.perf_counter() - began
    total.backward()
    return Computed(float(total.detach()), figures, forward)


def learning_rate(budget: Budget, step: int) -> float:
    """Linear warm-up, then cosine to zero or constant."""
    if step < budget.warmup_steps:
        return budget.learning_rate * (step + 1) / (budget.warmup_steps + 1)
    if budget.schedule == "constant":
        return budget.learning_rate
    share = (step - budget.warmup_steps) / max(1, budget.steps - budget.warmup_steps)
    return budget.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


class Training:
    """A module on its way through `budget`: it can be put down after any step and taken up again, bit for bit.

    What of `model` requires a gradient is trained. `rate_of` gives, for a parameter's name, the factor on the learning
    rate. `compute` turns a batch and a loss into gradients, `clip` bounds their norm and returns what it was.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        budget: Budget,
        rate_of: Callable[[str], float] = lambda name: 1.0,
        compute: Callable[[Any, Loss], Computed] = at_once,
        clip: Callable[[Sequence[nn.Parameter], float], Tensor] = nn.utils.clip_grad_norm_,
    ):
        self.model, self.budget, self.compute, self.clip, self.done = model, budget, compute, clip, 0
        self.moving = {name: p for name, p in model.named_parameters() if p.requires_grad}
        groups: dict[tuple[float, type], list[nn.Parameter]] = {}
        for name, parameter in self.moving.items():  # AdamW computes with whole tensors, or with sharded ones
            groups.setdefault((rate_of(name), type(parameter)), []).append(parameter)
        factors = [{"params": group, "factor": factor} for (factor, _), group in groups.items()]
        self.optimiser = torch.optim.AdamW(
            factors, lr=budget.learning_rate, weight_decay=budget.weight_decay, fused=True
        )

    def steps(
        self,
        batches: Iterable[Any],
        loss: Loss,
        *,
        after_backward: Callable[[], None] = lambda: None,
    ) -> Iterator[Step]:
        """Trains to the budget's end and yields each step; `batches` begin with the one of the next step.

        Raises `NotFinite`, naming step, loss and batch, before the optimiser could use a NaN.
        """
        endless = iter(batches)
        while self.done < self.budget.steps:
            index, began = self.done, time.perf_counter()
            batch, fetched = next(endless), time.perf_counter()
            rate = learning_rate(self.budget, index)
            for group in self.optimiser.param_groups:
                group["lr"] = rate * group["factor"]
            self.optimiser.zero_grad()
            found = self.compute(batch, loss)
            if not math.isfinite(found.loss):
                raise NotFinite(f"loss is not finite at step {index}: {found.parts}, {batch}")
            norm = float(self.clip(list(self.moving.values()), self.budget.clip_norm))
            if not math.isfinite(norm):
                raise NotFinite(f"gradient is not finite at step {index}: {found.parts}, {batch}")
            turned = time.perf_counter()
            after_backward()
            self.optimiser.step()
            self.done += 1
            backward, optimiser = turned - fetched - found.forward, time.perf_counter() - turned
            seconds = Seconds(fetched - began, found.forward, backward, optimiser)
            yield Step(index, found.loss, found.parts, norm, rate, seconds)

    def state(self) -> dict[str, Tensor]:
        """What the optimiser keeps: the parameter's name, a dot, and what it is; empty before the first step."""
        kept, names = self.optimiser.state_dict()["state"], self._names()
        return {f"{names[number]}.{what}": value for number, values in kept.items() for what, value in values.items()}

    def take_up(self, done: int, state: Mapping[str, Tensor]) -> None:
        """Go on after `done` steps with what `state` gave then."""
        kept: dict[int, dict[str, Tensor]] = {}
        numbers = {name: number for number, name in enumerate(self._names())}
        for key, value in state.items():
            name, _, what = key.rpartition(".")
            kept.setdefault(numbers[name], {})[what] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": kept})
        self.done = done

    def _names(self) -> list[str]:
        """Of the parameters, in the order in which the optimiser numbers them."""
        names = {parameter: name for name, parameter in self.moving.items()}
        return [names[parameter] for group in self.optimiser.param_groups for parameter in group["params"]]


def train(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    loss: Loss,
    budget: Budget,
    rate_of: Callable[[str], float] = lambda name: 1.0,
    after_backward: Callable[[], None] = lambda: None,
) -> Iterator[Step]:
    """A `Training` from its first step to its last, which nobody puts down."""
    return Training(model, budget=budget, rate_of=rate_of).steps(batches, loss, after_backward=after_backward)
