"""How many bytes of tensors training holds at its peak: weights, the optimiser's state, gradients and activations.

A storage counts once, however many tensors look at it, from when it is made until nothing holds it. Before a run the
tensors are an outline's, which have no numbers; in a run they are those of its first batch: one way to count for both,
and for any device. Not counted are what a kernel needs for itself while it computes, the data set, and all that is no
tensor.
"""

import weakref
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Memory:
    """Bytes in one process. `weights` are parameters and buffers, `optimiser` what AdamW keeps from step to step.

    `step` are gradients, activations and the batch, at the moment at which they are most together.
    """

    weights: int
    optimiser: int
    step: int

    @property
    def peak(self) -> int:
        return self.weights + self.optimiser + self.step

    def as_json(self) -> dict[str, Any]:
        return {"training_peak_bytes": self.peak, "training_bytes_of": asdict(self)}


class Watch(TorchDispatchMode):
    """Counts the bytes that are made under it on one kind of device, while something holds them.

    What was there before does not count, such as weights and data. It may be entered again and goes on.
    """

    def __init__(self, kind: str = "cpu") -> None:
        super().__init__()
        self.kind = kind
        self.now = self.peak = 0
        self.known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:
            return func(*args)
        for given in tree_leaves((args, kwargs)):
            self._meet(given, made=False)
        found = func(*args, **(kwargs or {}))
        for made in tree_leaves(found):
            self._meet(made, made=True)
        return found

    def _meet(self, value: Any, *, made: bool) -> None:
        if not isinstance(value, Tensor) or value.device.type != self.kind:
            return
        storage = value.untyped_storage()
        if storage._cdata in self.known:
            return
        size = storage.nbytes() if made else 0
        self.known[storage._cdata] = weakref.ref(storage, partial(self._gone, storage._cdata, size))
        self.now += size
        self.peak = max(self.peak, self.now)

    def _gone(self, key: int, size: int, _: object) -> None:
        del self.known[key]
        self.now -= size


def held(tensors: Iterable[Tensor]) -> int:
    """Bytes of their storages, each counted once."""
    return sum({s._cdata: s.nbytes() for s in (tensor.untyped_storage() for tensor in tensors)}.values())


def weights_of(model: nn.Module) -> int:
    """Bytes of its parameters and buffers."""
    return held([*model.parameters(), *model.buffers()])


def adamw_bytes(model: nn.Module) -> int:
    """What AdamW will keep for what is trained: two moments and a number of steps, in float32, of each tensor."""
    return sum(2 * p.nbytes + torch.float32.itemsize for p in model.parameters() if p.requires_grad)
