"""Where a model is computed, and in which precision: what a plan's `compute` means on this machine."""

from dataclasses import dataclass

import torch
from torch import nn

from workbench.errors import UserError
from workbench.plan import Compute
from workbench.policy import Policy

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


@dataclass(frozen=True)
class Place:
    """A device, and the type of what is frozen and of what autocast computes in."""

    device: torch.device
    dtype: torch.dtype

    def settle(self, policy: Policy) -> None:
        """Move the policy there, one tensor after the other.

        What is trained stays in float32, since AdamW's updates of bfloat16 would round away; so do normalisation
        layers, whose running statistics are in float32.
        """
        norms = {
            p for module in policy.modules() if isinstance(module, NORMS) for p in module.parameters(recurse=False)
        }
        for parameter in policy.parameters():
            kept = parameter.requires_grad or parameter in norms
            parameter.data = parameter.data.to(self.device, parameter.dtype if kept else self.dtype)
        policy.to(self.device)  # buffers

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)


def place(compute: Compute) -> Place:
    """Raises UserError where a GPU is asked for that is not there."""
    count = torch.cuda.device_count()
    name = compute.device if compute.device != "auto" else "cuda" if count else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UserError(f"compute.device is {name!r}, but torch sees {count} GPUs here; use 'cpu' or 'auto'.")
    low = compute.dtype == "bfloat16" or (compute.dtype == "auto" and device.type == "cuda")
    return Place(device, torch.bfloat16 if low else torch.float32)
