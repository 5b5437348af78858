"""A batch that is computed in pieces, one after the other or by several processes: the same step, up to rounding.

Piece p of P has the rows p, p + P, p + 2P, … A loss is a mean over the batch's real steps (those that are not padding),
so a piece's counts as its share of them, and the gradients of all pieces are summed. What a head draws is drawn for the
whole batch, in the order in which it is drawn for a batch that is computed at once. What drops out is drawn by each
piece, from a seed of its own: with dropout, a run in pieces is another draw than one without.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from workbench.errors import UserError
from workbench.heads.contract import Drawn
from workbench.training.group import Group, connected
from workbench.training.train import Computed


@dataclass(frozen=True)
class Division:
    """`of` how many pieces a batch consists, which of them are this process's `own`, and what draws for all rows."""

    of: int
    own: range
    draw: Callable[[Tensor], Drawn]


@dataclass(frozen=True)
class Piece:
    """Some rows of a batch, their `share` of its real steps, and the `seed` of what drops out."""

    batch: Any
    share: float
    seed: int


@dataclass(frozen=True)
class Divided:
    """The pieces of a batch that this process computes; `frames` are the whole batch's."""

    pieces: tuple[Piece, ...] = field(repr=False)
    frames: tuple[int, ...]


class InPieces:
    """The gradients of a `Divided` batch, summed over its pieces and over the processes of `group`.

    Those of sharded tensors are summed over the processes while they are computed. Raises UserError where a layer that
    is trained looks at the batch as a whole.
    """

    def __init__(self, model: nn.Module, group: Group, devices: Sequence[torch.device]):
        self.moving = [p for p in model.parameters() if p.requires_grad and type(p) is nn.Parameter]  # not sharded
        self.group = group
        self.devices = [device for device in dict.fromkeys(devices) if device.type == "cuda"]
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
                raise UserError(
                    f"compute.processes and compute.accumulate have to be 1 for this model: {name} is a batch "
                    "normalisation in training, whose statistics are of all rows of a batch. Or freeze its slot."
                )

    def __call__(self, batch: Divided, loss: Callable[[Any], Mapping[str, Tensor]]) -> Computed:
        parts: dict[str, float] = {}
        forward = 0.0
        for piece in batch.pieces:
            with torch.random.fork_rng(devices=self.devices), connected():
                torch.manual_seed(piece.seed)
                began = time.perf_counter()
                found = loss(piece.batch)
                total = piece.share * torch.stack(list(found.values())).sum()
                for name, part in found.items():
                    parts[name] = parts.get(name, 0.0) + piece.share * float(part.detach())
                forward += time.perf_counter() - began
                total.backward()
        parts = self.group.summed(parts, self.moving)
        return Computed(sum(parts.values()), parts, forward)
