"""What a spec costs before anything is run: its policy is outlined on the meta device and one step counted."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from workbench.actions import Actions
from workbench.adapt import adapt
from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.imitate import Batch, imitation_loss
from workbench.policy import Policy
from workbench.spec import Spec, with_random_weights

BYTES = 4  # of a stored weight: float32


@dataclass(frozen=True)
class Cost:
    """Parameters that are trained, bytes of the stored weights, and operations of one optimiser step.

    `step_flops` are those of forward and backward pass as torch counts them, a multiplication and an addition as two.
    """

    trainable: int
    weights_bytes: int
    step_flops: int


@contextmanager
def _outline(spec: Spec, chunk: int, actions: Actions) -> Iterator[tuple[Policy, Backbone]]:
    spec = with_random_weights(spec)
    with torch.device("meta"):
        policy, backbone = build(spec, 0, chunk=chunk, root=Path(), actions=actions)
        adapt(policy, spec, seed=0)
        yield policy, backbone


def trainable_parameters(spec: Spec, *, chunk: int, actions: Actions) -> int:
    """Trainable parameters of `spec`; weights are never read, only shapes count."""
    with _outline(spec, chunk, actions) as (policy, _):
        return sum(p.numel() for p in policy.parameters() if p.requires_grad)


def training_cost(spec: Spec, *, chunk: int, batch: int, actions: Actions) -> Cost:
    """What training `spec` in batches of `batch` costs; nothing is computed."""
    with _outline(spec, chunk, actions) as (policy, backbone):
        side = policy.vision.card.side
        frames = Batch(
            torch.empty(batch, side, side, 3, dtype=torch.uint8),
            backbone.tokenize(["reach the red block"] * batch),
            torch.empty(batch, chunk, actions.width),
            torch.zeros(batch, chunk, dtype=torch.bool),
            (),
        )
        with FlopCounterMode(display=False) as counter:
            torch.stack(list(imitation_loss(policy, frames.to(torch.device("meta"))).values())).sum().backward()
        parameters = list(policy.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    return Cost(trainable, BYTES * sum(p.numel() for p in parameters), counter.get_total_flops())
