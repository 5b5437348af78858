"""What a spec costs before it is run: its policy is outlined, or made with random weights, and one step counted."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from workbench.actions import Actions
from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.plan import Compute
from workbench.policy import Policy
from workbench.spec import Spec, with_random_weights
from workbench.training.adapt import adapt
from workbench.training.flops import Work, training_flops
from workbench.training.imitate import Batch, imitation_loss

BYTES = 4  # of a stored weight: float32
REAL = 5 * 10**7
"""Parameters of a model whose step is really made in order to count it: seconds of one core."""


@dataclass(frozen=True)
class Cost:
    """Parameters that are trained, bytes of the stored weights, and operations of one optimiser step.

    `step_flops` are those of forward and backward pass as torch counts them, a multiplication and an addition as two.
    """

    trainable: int
    weights_bytes: int
    step_flops: int


class _Unpadded(TorchDispatchMode):
    """Answers where a mask without values is asked whether all of it is set: yes, since all instructions are alike."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta and args[0].dtype == torch.bool:
            return True
        return func(*args, **(kwargs or {}))


@contextmanager
def _outline(
    spec: Spec, chunk: int, actions: Actions, *, device: str = "meta", compute: Compute | None = None
) -> Iterator[tuple[Policy, Backbone]]:
    spec = with_random_weights(spec)
    with torch.device(device), _Unpadded():
        policy, backbone = build(spec, 0, chunk=chunk, root=Path(), compute=compute or Compute(), actions=actions)
        adapt(policy, spec, seed=0)
        yield policy, backbone


def trainable_parameters(spec: Spec, *, chunk: int, actions: Actions) -> int:
    """Trainable parameters of `spec`; weights are never read, only shapes count."""
    with _outline(spec, chunk, actions) as (policy, _):
        return sum(p.numel() for p in policy.parameters() if p.requires_grad)


def training_cost(spec: Spec, *, chunk: int, batch: int, actions: Actions) -> Cost:
    """What training `spec` in batches of `batch` costs; nothing is computed."""
    with _outline(spec, chunk, actions) as (policy, backbone):
        frames = _frames(policy, backbone, chunk, batch, actions)
        with FlopCounterMode(display=False) as counter:
            torch.stack(list(imitation_loss(policy, frames).values())).sum().backward()
        parameters = list(policy.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    return Cost(trainable, BYTES * sum(p.numel() for p in parameters), counter.get_total_flops())


def step_flops(spec: Spec, *, chunk: int, batch: int, actions: Actions, checkpointing: bool = False) -> Work:
    """What one step of imitation needs at least, and what it computes; weights are random.

    The step is really made, on the CPU, with the kernels that a run there has. Of a model with more parameters than
    `REAL` it is outlined on the meta device, so that fused attention's second look at its scores is not counted.
    `checkpointing` is the plan's.
    """
    with _outline(spec, chunk, actions) as (policy, _):
        device = "cpu" if sum(p.numel() for p in policy.parameters()) <= REAL else "meta"
    compute = Compute(gradient_checkpointing=checkpointing)
    with (
        _outline(spec, chunk, actions, device=device, compute=compute) as (policy, backbone),
        torch.random.fork_rng(devices=[]),  # a head may draw
    ):
        frames = _frames(policy, backbone, chunk, batch, actions)
        return training_flops(policy, frames, lambda frames: imitation_loss(policy, frames))


def _frames(policy: Policy, backbone: Backbone, chunk: int, batch: int, actions: Actions) -> Batch:
    """Black pictures and one instruction, on the device of the policy."""
    side = policy.vision.card.side
    frames = Batch(
        torch.zeros(batch, side, side, 3, dtype=torch.uint8),
        backbone.tokenize(["reach the red block"] * batch),
        torch.zeros(batch, chunk, actions.width),
        torch.zeros(batch, chunk, dtype=torch.bool),
        (),
    )
    return frames.to(next(policy.parameters()).device)
