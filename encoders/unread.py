"""Which tensors of a tower the tokens do not depend on, found by a backward pass that computes nothing."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from encoders.contract import Encoder

TOWER = "tower."


def unread_parameters(encoder: Encoder) -> set[str]:
    """Names of the parameters that no gradient reaches, whatever the frame. Runs on the meta device: no memory."""
    meta = torch.device("meta")
    leaves = {key: torch.empty_like(p, device=meta, requires_grad=True) for key, p in encoder.named_parameters()}
    buffers = {key: torch.empty_like(b, device=meta) for key, b in encoder.named_buffers()}
    side = encoder.card.side
    frame_BHWC = torch.empty(1, side, side, 3, dtype=torch.uint8, device=meta)
    if not leaves:
        return set()
    with torch.enable_grad():
        seen_BND = functional_call(encoder, {**leaves, **buffers}, (frame_BHWC,))
        found = torch.autograd.grad(seen_BND.sum(), list(leaves.values()), allow_unused=True)
    return {key for key, gradient in zip(leaves, found, strict=True) if gradient is None}


def take_out_unread(encoder: Encoder) -> None:
    """Leave in the tower what moves the tokens; the rest goes to `encoder.unread` under the tower's own names."""
    before = encoder.get_submodule("tower").state_dict()
    names = {key.removeprefix(TOWER) for key in unread_parameters(encoder)}
    _take_out(encoder.get_submodule("tower"), names, "")
    keep_unread(encoder, before)


def keep_unread(encoder: Encoder, before: dict[str, Tensor]) -> None:
    """Add to `encoder.unread` what of the state `before` the tower has no more."""
    left = encoder.get_submodule("tower").state_dict()
    encoder.unread |= {key: value.detach().clone() for key, value in before.items() if key not in left}


def _take_out(module: nn.Module, names: set[str], path: str) -> None:
    for name, child in list(module.named_children()):
        held = {f"{path}{name}.{key}" for key, _ in child.named_parameters()}
        if held and held <= names:
            setattr(module, name, nn.Identity())
        else:
            _take_out(child, names, f"{path}{name}.")
    for name, _ in list(module.named_parameters(recurse=False)):
        if path + name in names:
            setattr(module, name, None)
