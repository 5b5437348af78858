"""A model whose tensors have shapes, types and places, but no numbers: what a step of it takes is counted in seconds.

Torch calls such tensors fake. They say that they are on the CPU, so the same kernels are chosen as for real ones there.
What a model counts with (positions, masks, the grid of an image) are small real tensors; what is computed from both has
no numbers.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
MASKED = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index)
"""Operations whose second argument may hold masks."""


class Outline(TorchDispatchMode):
    """Under it, tensors without numbers are computed with; it is the first of all modes to be entered."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor without numbers."""
        with self.fake:
            return torch.empty(shape, dtype=dtype, device="cpu")

    def take(self, model: nn.Module) -> None:
        """All parameters and buffers of `model` become such tensors; those that are shared stay so."""
        known: dict[nn.Parameter, nn.Parameter] = {}
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is None:
                    continue
                if parameter not in known:
                    known[parameter] = nn.Parameter(self._like(parameter), parameter.requires_grad)
                module._parameters[name] = known[parameter]
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else self._like(buffer)

    def _like(self, tensor: Tensor) -> Tensor:
        with self.fake:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:  # asked of every tensor, between any two operations
            return args[0].fake_device
        kwargs = kwargs or {}
        operation = func._overloadpacket
        if operation in MASKED:
            tensor, places, *rest = args
            return func(tensor, _numbered(places), *rest, **kwargs)
        if operation is aten._grouped_mm and args[0].dtype == torch.float32:
            first, second, *rest = args  # its outline knows bfloat16 only
            return func(first.bfloat16(), second.bfloat16(), *rest, **kwargs).float()
        return func(*args, **kwargs)


def _numbered(places: list[Tensor | None]) -> list[Tensor | None]:
    """The same places, a mask's as the numbers of what it lets through: how many there are is a shape."""
    found: list[Tensor | None] = []
    for place in places:
        if place is not None and place.dtype == torch.bool and not isinstance(place, FakeTensor):
            found += place.nonzero().unbind(1)
        else:
            found.append(place)
    return found
