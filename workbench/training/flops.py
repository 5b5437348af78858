"""What a training step has to compute at least, what it does compute, and how fast this machine multiplies.

The least is read from the products of one forward pass (`workbench.training.products`): no family and no tune has a
formula of its own. Each product costs its forward pass once more for each of its two factors that needs a gradient.
What drops out by it: the weights' gradient of what is frozen, both gradients below the lowest trained parameter, all
but the low-rank or the last blocks' weights.

A step may compute more than that. A tensor has a gradient as a whole: where only the suffix (the policy's query) has
something trained behind it, the image and the words before it are given gradients that nobody reads. Of gradients that
the language model needs for the suffix's sake alone, S of L positions are required. The image and the words count as
one. Gradient checkpointing computes blocks twice, and fused attention computes QKᵀ again in its backward pass.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from workbench.policy import Policy
from workbench.spec import SLOTS, SlotName
from workbench.training.memory import Watch
from workbench.training.products import Counter, Flops, Tape

Piece = TypeVar("Piece")


@dataclass(frozen=True)
class Work:
    """Operations that training needs at least, and those that it executes: of a step, or of many."""

    required: int
    executed: int

    def __add__(self, other: "Work") -> "Work":
        return Work(self.required + other.required, self.executed + other.executed)

    def __mul__(self, times: int) -> "Work":
        return Work(self.required * times, self.executed * times)

    @property
    def waste(self) -> float:
        """Executed over required; below 1 by the masked looks at the suffix that a cached prefix is spared."""
        return self.executed / self.required


def required_flops(policy: Policy, loss: Callable[[], Mapping[str, Tensor]]) -> dict[SlotName, Flops]:
    """The least that a step of `loss` needs in each slot; what is in no slot counts as the head's.

    `loss` is called twice and no gradient is computed: an outline will do, and nothing is kept for a backward pass.
    """
    whole, share = _traced(policy, loss, suffix_is_trained=True)
    rest, _ = _traced(policy, loss, suffix_is_trained=False)
    required = dict(whole)
    required["language"] = Flops(
        whole["language"].forward,
        rest["language"].inputs + round(share * (whole["language"].inputs - rest["language"].inputs)),
        whole["language"].weights,
    )
    return required


@dataclass(frozen=True)
class Taken:
    """Operations that were `executed`, and the bytes that were `held` at the peak beside what was there before."""

    executed: int
    held: int


def taken(
    pieces: Callable[[], Sequence[Piece]], loss: Callable[[Piece], Mapping[str, Tensor]], *, kind: str = "cpu"
) -> Taken:
    """What it takes to fetch `pieces`, of which no operations are counted, and to compute their gradients in turn.

    Operations are by the kernels that are called, bytes on that kind of device. Gradients are added to those there.
    """
    counter = Counter()
    with Watch(kind) as watch:
        for piece in pieces():
            with counter:
                parts = loss(piece)
                _total(parts).backward()
    return Taken(counter.total, watch.peak)


@cache
def matmul_rate(device: torch.device = torch.device("cpu"), dtype: torch.dtype = torch.float32) -> float:  # noqa: B008
    """Operations a second of square matrix products, measured in a fifth of a second, once a process: the best of them.

    Large enough for a core or a GPU to be busy; draws nothing.
    """
    edge = 8192 if device.type == "cuda" else 512
    factor = torch.linspace(-1, 1, edge * edge, device=device).reshape(edge, edge).to(dtype)
    best, began = float("inf"), time.perf_counter()
    with torch.no_grad():
        while time.perf_counter() - began < MEASURED_SECONDS:
            started = time.perf_counter()
            float((factor @ factor)[0, 0])  # waits for the device
            best = min(best, time.perf_counter() - started)
    return 2 * edge**3 / best


MEASURED_SECONDS = 0.15


def _traced(
    policy: Policy, loss: Callable[[], Mapping[str, Tensor]], *, suffix_is_trained: bool
) -> tuple[dict[SlotName, Flops], float]:
    """What each slot would compute, and the share of the suffix in the sequence that the language model read last.

    The sequence is read as a whole, however the policy reads it.
    """
    tape, share, once = Tape(policy.parameters()), 1.0, policy.language.prefix_once

    def enter(slot: SlotName, _: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        nonlocal share
        tape.slot = slot
        if slot != "language":
            return given
        image_BNE, _words_BTE, mask_BT, suffix_BSE, *rest = given
        share = suffix_BSE.shape[1] / (image_BNE.shape[1] + mask_BT.shape[1] + suffix_BSE.shape[1])
        return given if suffix_is_trained else (*given[:3], suffix_BSE.detach(), *rest)

    def leave(*_: Any) -> None:
        tape.slot = "head"

    with ExitStack() as hooks, tape:
        for name in SLOTS[:-1]:
            slot = policy.get_submodule(name)
            hooks.callback(slot.register_forward_pre_hook(partial(enter, name)).remove)
            hooks.callback(slot.register_forward_hook(leave).remove)
        hooks.callback(setattr, policy.language, "prefix_once", once)
        policy.language.prefix_once = False
        hooks.enter_context(saved_tensors_hooks(lambda tensor: None, lambda kept: kept))
        total = _total(loss())
    return tape.found(total), share


def _total(parts: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(parts.values())).sum()


@contextmanager
def untouched(trained: list[Tensor], changing: list[Tensor]) -> Iterator[None]:
    """Afterwards gradients of the ones, values of the others and all generators are what they were before.

    The gradients are put aside meanwhile.
    """
    gradients, values = [tensor.grad for tensor in trained], [tensor.detach().clone() for tensor in changing]
    for tensor in trained:
        tensor.grad = None
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        for tensor, gradient in zip(trained, gradients, strict=True):
            tensor.grad = gradient
        with torch.no_grad():
            for tensor, value in zip(changing, values, strict=True):
                tensor.copy_(value)
