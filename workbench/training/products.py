"""The matrix products of a forward pass: what they cost, and what their gradients will.

Operations, a multiplication and an addition as two:

- a linear layer of m rows, k → n: 2mkn forward, 2mkn for the gradient of its input, 2mkn for that of its weight;
- attention of L positions, width d: QKᵀ and PV are 2L²d each, and each has two factors with a gradient of its own;
- a convolution: as the linear layer that it is of its patches.

A factor needs a gradient where it is trained or depends on what is trained, and the loss depends on the product.
Entries that a mask hides count as any other.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from workbench.spec import SLOTS, SlotName

aten = torch.ops.aten


@dataclass(frozen=True)
class Flops:
    """Operations of a step, or of one slot's part in it."""

    forward: int = 0
    inputs: int = 0
    """For gradients of what is given to layers: activations."""
    weights: int = 0
    """For gradients of parameters."""

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(self.forward + other.forward, self.inputs + other.inputs, self.weights + other.weights)

    @property
    def total(self) -> int:
        return self.forward + self.inputs + self.weights


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[-2] * (width + value[-1])


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """QKᵀ again, and both products' gradients for both factors."""
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[-2] * (3 * width + 2 * value[-1])


CPU_ATTENTION = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""The kernels on the CPU, which torch's counter does not know."""
ATTENTION_ONCE = CPU_ATTENTION | {
    aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda gradient, *factors, **_: 2 * _attention(*factors)
}
"""The same, but for the second look at QKᵀ in the backward pass."""
Formulas = Mapping[Any, Callable[..., int]]
"""Operations of a kernel, by what it is given and `out_val`, what it gives."""


def formulas(attention: Formulas = CPU_ATTENTION) -> Formulas:
    """Torch's own, and those of attention on the CPU."""
    return FlopCounterMode(display=False, custom_mapping=dict(attention)).flop_registry


class Counter(TorchDispatchMode):
    """The operations of all kernels that are called under it. Torch's counter has hooks on modules, which keep tensors
    where blocks are computed twice."""

    def __init__(self, attention: Formulas = CPU_ATTENTION) -> None:
        super().__init__()
        self.formulas = formulas(attention)
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func._overloadpacket in self.formulas:
            self.total += self.formulas[func._overloadpacket](*args, **(kwargs or {}), out_val=made)
        return made


FIRST_FACTOR = {
    aten.mm: 0, aten.bmm: 0, aten.addmm: 1, aten.baddbmm: 1, aten.convolution: 0, aten._grouped_mm: 0,
}  # fmt: skip
"""Which argument is the first of a product's two factors."""
ATTENTION = "_scaled_dot_product_"


@dataclass(frozen=True)
class _Product:
    """What was multiplied in a forward pass, what it costs if its gradient is asked for, and its node in the graph."""

    slot: SlotName
    cost: Flops
    node: Any


class Tape(TorchDispatchMode):
    """The products of the forward pass that is made under it; `slot` is said from outside. It keeps the last one."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        super().__init__()
        self.formulas = formulas()
        self.parameters = {parameter.untyped_storage()._cdata for parameter in parameters}
        self.products: list[_Product] = []
        self.last: tuple[SlotName, Flops, Tensor] | None = None
        self.slot: SlotName = "head"

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        product = func._overloadpacket
        if product in self.formulas:
            self._note()
            forward = self.formulas[product](*args, **(kwargs or {}), out_val=made)
            first = made[0] if isinstance(made, tuple) else made
            self.last = (self.slot, self._cost(product, forward, args), first)
        return made

    def _note(self) -> None:
        """The last product, which has its node only after it was handed back."""
        if self.last:
            slot, cost, made = self.last
            self.products.append(_Product(slot, cost, made.grad_fn))
            self.last = None

    def found(self, loss: Tensor) -> dict[SlotName, Flops]:
        """What each slot costs with its gradients; what `loss` does not depend on has none."""
        self._note()
        nodes = _behind(loss)
        found: dict[SlotName, Flops] = dict.fromkeys(SLOTS, Flops())
        for product in self.products:
            read = product.node in nodes
            found[product.slot] += product.cost if read else Flops(product.cost.forward)
        return found

    def _cost(self, product: Any, forward: int, args: Any) -> Flops:
        if str(product).startswith(f"aten.{ATTENTION}"):
            query, key, value = (tensor.requires_grad for tensor in args[:3])
            return Flops(forward, forward // 2 * (query + key + (query or key) + value))
        first = FIRST_FACTOR[product]
        inputs = weights = 0
        for factor in args[first : first + 2]:
            if factor.requires_grad and factor.untyped_storage()._cdata in self.parameters:
                weights += forward
            elif factor.requires_grad:
                inputs += forward
        return Flops(forward, inputs, weights)


def _behind(loss: Tensor) -> set[Any]:
    """The nodes of the graph that a backward pass from `loss` goes through."""
    nodes, waiting = set[Any](), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            waiting += [following for following, _ in node.next_functions]
    return nodes
