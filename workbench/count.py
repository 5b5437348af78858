"""What a spec costs before it is run: its policy is outlined, and one step of it counted. No weights are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from workbench.actions import Actions
from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.compute import Place
from workbench.outline import Outline
from workbench.plan import Compute
from workbench.policy import Policy
from workbench.spec import Spec, with_random_weights
from workbench.training.adapt import adapt
from workbench.training.flops import Work, required_flops, taken
from workbench.training.imitate import Batch, imitation_loss
from workbench.training.memory import Memory, adamw_bytes, weights_of
from workbench.training.products import ATTENTION_ONCE, Counter

BYTES = 4  # of a stored weight: float32


@dataclass(frozen=True)
class Cost:
    """Parameters that are trained, bytes of the stored weights, and operations of one optimiser step.

    `step_flops` are those of forward and backward pass where nothing is computed twice and the sequence is read as a
    whole, a multiplication and an addition as two: studies that match arms by them have ids that depend on it.
    """

    trainable: int
    weights_bytes: int
    step_flops: int


@dataclass(frozen=True)
class StepCost:
    """What an optimiser step computes, and what training holds at its peak."""

    work: Work
    memory: Memory


def trainable_parameters(spec: Spec, *, chunk: int, actions: Actions) -> int:
    """Trainable parameters of `spec`; weights are never read, only shapes count."""
    policy, _ = _shape(spec, chunk, actions, Compute())
    return sum(p.numel() for p in policy.parameters() if p.requires_grad)


def training_cost(spec: Spec, *, chunk: int, batch: int, actions: Actions) -> Cost:
    """What training `spec` in batches of `batch` costs; nothing is computed."""
    policy, backbone = _shape(spec, chunk, actions, Compute())
    policy.language.prefix_once = False
    with _outlined(policy) as outline, Counter(ATTENTION_ONCE) as counter:
        frames = _frames(policy, backbone, outline, chunk, batch, actions)
        torch.stack(list(imitation_loss(policy, frames).values())).sum().backward()
    parameters = list(policy.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    return Cost(trainable, BYTES * sum(p.numel() for p in parameters), counter.total)


def step_cost(
    spec: Spec,
    *,
    chunk: int,
    batch: int,
    actions: Actions,
    compute: Compute = Compute(),  # noqa: B008  # a frozen value
) -> StepCost:
    """What one step of imitation needs at least, what it computes, and what it takes in memory; nothing is computed.

    The kernels are the CPU's, as is the memory that they ask for. Memory is that of one of the plan's processes, which
    computes its pieces of a batch one after the other; operations are those of the whole batch.
    """
    policy, backbone = _shape(spec, chunk, actions, _here(compute))
    spot = Place(torch.device("cpu"), _precision(compute))

    def loss(frames: Batch) -> dict[str, Tensor]:
        with spot.autocast():
            return dict(imitation_loss(policy, frames))

    def frames(rows: int) -> Batch:
        return _frames(policy, backbone, outline, chunk, rows, actions)

    Place(torch.device("meta"), spot.dtype).settle(policy)
    policy.places = {}
    with _outlined(policy) as outline:
        whole = frames(batch)
        required = sum(slot.total for slot in required_flops(policy, lambda: loss(whole)).values())
        step = piece = taken(lambda: [frames(batch)], loss)
        if compute.pieces > 1:
            policy.zero_grad()
            rows = -(-batch // compute.pieces)
            piece = taken(lambda: [frames(rows) for _ in range(min(compute.accumulate, 2))], loss)
    return StepCost(Work(required, step.executed), Memory(weights_of(policy), adamw_bytes(policy), piece.held))


def _shape(spec: Spec, chunk: int, actions: Actions, compute: Compute) -> tuple[Policy, Backbone]:
    """On the meta device: shapes, and nothing that could be computed."""
    spec = with_random_weights(spec)
    with torch.device("meta"):
        policy, backbone = build(spec, 0, chunk=chunk, root=Path(), compute=compute, actions=actions)
        adapt(policy, spec, seed=0)
    return policy, backbone


@contextmanager
def _outlined(policy: Policy) -> Iterator[Outline]:
    outline = Outline()
    outline.take(policy)
    with torch.random.fork_rng(devices=[]), outline:  # a head may draw
        yield outline


def _here(compute: Compute) -> Compute:
    """What of it changes a step on the CPU. Kernels that only a GPU has save what fused attention saves here."""
    attention = "auto" if compute.attention == "flash_attention_2" else compute.attention
    return Compute(gradient_checkpointing=compute.gradient_checkpointing, attention=attention)


def _precision(compute: Compute) -> torch.dtype:
    """What is computed in where the plan is carried out: on the GPU that it names, even if there is none here."""
    gpu = compute.device.startswith("cuda") or (compute.device == "auto" and torch.cuda.device_count() > 0)
    low = compute.dtype == "bfloat16" or (compute.dtype == "auto" and gpu)
    return torch.bfloat16 if low else torch.float32


def _frames(policy: Policy, backbone: Backbone, outline: Outline, chunk: int, batch: int, actions: Actions) -> Batch:
    """Pictures, actions and a robot's state without numbers, and one instruction."""
    side, token = policy.vision.card.side, policy.head.state_token
    return Batch(
        outline.empty(batch, side, side, 3, dtype=torch.uint8),
        backbone.tokenize(["reach the red block"] * batch),
        outline.empty(batch, chunk, actions.width),
        torch.zeros(batch, chunk, dtype=torch.bool),
        (),
        state_BS=None if token is None else outline.empty(batch, token.in_features),
    )
