"""A policy whose parameters, gradients and optimiser state are spread over the processes of a run, by torch's FSDP2.

Each slot is a copy of the policy's own, block by block under `fully_shard`: a process gathers a block's tensors when it
computes with them and lets them go again. Gradients are summed, as those of whole tensors are.
"""

import copy
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from encoders.contract import Encoder
from workbench.backbones.contract import Language
from workbench.errors import UserError
from workbench.heads.contract import Head
from workbench.policy import Policy
from workbench.spec import SLOTS
from workbench.training.group import Group, connected
from workbench.training.spread import Spread


def local(tensor: Tensor) -> Tensor:
    """What of a tensor is in this process: all of it, unless it is sharded. It shares memory with it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def shard(policy: Policy, group: Group) -> Spread:
    """Spread each slot of `policy` over the processes of `group`; every process has built the same policy.

    Two things stay whole: a frozen encoder, since each process reads pictures whose features it lacks by itself, and
    what the head tells the language model (its query), which is read outside of it. Raises UserError for experts that
    are modules of their own.
    """
    slots = {name: policy.get_submodule(name) for name in SLOTS if name != "vision" or name not in policy.frozen}
    slots = {name: slot for name, slot in slots.items() if list(slot.parameters())}
    parameters = {p: f"{name}.{key}" for name, slot in slots.items() for key, p in slot.named_parameters()}
    check_always_used(key for p, key in parameters.items() if p.requires_grad)
    known: dict[int, object] = {id(p): nn.Parameter(p.data, requires_grad=p.requires_grad) for p in parameters}
    known |= {id(buffer): buffer for slot in slots.values() for buffer in slot.buffers()}
    copies = copy.deepcopy(slots, known)
    known.clear()  # or it would keep the whole tensors
    for parameter in parameters:
        parameter.data = parameter.data.new_empty(0)
    mesh = init_device_mesh(group.device.type, (group.size,))
    for name, slot in copies.items():
        # what a slot gives is used by this project alone, which changes nothing in place
        warnings.filterwarnings("ignore", rf"FSDP2-wrapped module \(FSDP{type(slot).__name__}\) returned a view")
        _spread(slot, partial(fully_shard, mesh=mesh, reshard_after_forward=True))
        setattr(policy, name, slot)
    return Spread(partial(clip, group=group), partial(with_gradient, group=group), partial(_end, policy, slots, group))


def _end(policy: Policy, before: Mapping[str, nn.Module], group: Group) -> None:
    """Gives the policy its own slots again, in the first process with the numbers of the sharded ones."""
    for name, slot in before.items():
        empty = dict(slot.named_parameters())
        for key, parameter in policy.get_submodule(name).named_parameters():
            with connected():
                found = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
            if group.rank == 0:
                empty[key].data = found.detach()
        setattr(policy, name, slot)


def check_always_used(trained: Iterable[str]) -> None:
    """Raises UserError for a parameter that may have no gradient in one process: it could not be summed over all."""
    for key in trained:
        if re.search(r"\.experts\.\d+\.", key):
            raise UserError(
                f"compute.sharding is 'full', but {key} is of an expert in a module of its own, which may have a "
                "gradient in one process and none in another: leave sharding out, or do not train it."
            )


def _spread(slot: nn.Module, spread: Callable[..., object]) -> None:
    for block in slot.blocks if isinstance(slot, Encoder | Language) else ():
        spread(block)
    if isinstance(slot, Head):
        spread(slot, ignored_params={slot.query_E, *(slot.state_token.parameters() if slot.state_token else ())})
        register_fsdp_forward_method(slot, "loss")
    else:
        spread(slot)
    for module in slot.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # each piece counts as its share already
            module.set_force_sum_reduction_for_comms(True)  # gloo has no scaled one


def clip(parameters: Sequence[nn.Parameter], limit: float, *, group: Group) -> Tensor:
    """Bounds the 2-norm of all gradients, sharded ones and whole ones, and returns what it was."""
    grads = [p.grad for p in parameters if p.grad is not None]
    shards = [grad.to_local() for grad in grads if isinstance(grad, DTensor)]
    wholes = [grad for grad in grads if not isinstance(grad, DTensor)]
    squares = float(nn.utils.get_total_norm(shards)) ** 2
    squares = group.summed({"squares": squares}, [])["squares"] + float(nn.utils.get_total_norm(wholes)) ** 2
    norm = torch.tensor(squares).sqrt()
    scale = float((limit / (norm + 1e-6)).clamp(max=1.0))
    for grad in shards + wholes:
        grad.mul_(scale)
    return norm


def with_gradient(policy: Policy, *, group: Group) -> set[str]:
    """Names of the parameters that have a gradient which is not zero in any process's share."""
    return group.united({k for k, p in policy.named_parameters() if p.grad is not None and bool(local(p.grad).any())})
