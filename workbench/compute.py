"""Where a model is computed, and in which precision: what a plan's `compute` means on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from workbench.errors import UserError
from workbench.plan import Compute
from workbench.policy import Policy
from workbench.spec import SLOTS

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


@dataclass(frozen=True)
class Place:
    """A device, the type of what is frozen and of what autocast computes in, and slots that are on another device."""

    device: torch.device
    dtype: torch.dtype
    elsewhere: Mapping[str, torch.device] = field(default_factory=dict)

    def settle(self, policy: Policy) -> None:
        """Move the policy there, one tensor after the other.

        What is trained stays in float32, since AdamW's updates of bfloat16 would round away; so do normalisation
        layers, whose running statistics are in float32.
        """
        norms = {
            p for module in policy.modules() if isinstance(module, NORMS) for p in module.parameters(recurse=False)
        }
        policy.places = {name: self.elsewhere.get(name, self.device) for name in SLOTS}
        for name, device in policy.places.items():
            slot = policy.get_submodule(name)
            for parameter in slot.parameters():
                kept = parameter.requires_grad or parameter in norms
                parameter.data = parameter.data.to(device, parameter.dtype if kept else self.dtype)
            slot.to(device)  # buffers

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)


def place(compute: Compute) -> Place:
    """Raises UserError where a GPU is asked for that is not there, and where slots are spread over CPU and GPU."""
    name = compute.device if compute.device != "auto" else "cuda" if torch.cuda.device_count() else "cpu"
    device = _device("compute.device", name)
    elsewhere = {slot: _device(f"compute.device_map.{slot}", name) for slot, name in compute.device_map.items()}
    for slot, other in elsewhere.items():
        if other.type != device.type:
            raise UserError(
                f"compute.device_map.{slot} is '{other}' beside '{device}': a model is computed on GPUs or on the CPU."
            )
    low = compute.dtype == "bfloat16" or (compute.dtype == "auto" and device.type == "cuda")
    return Place(device, torch.bfloat16 if low else torch.float32, elsewhere)


def _device(path: str, name: str) -> torch.device:
    device, count = torch.device(name), torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UserError(f"{path} is {name!r}, but torch sees {count} GPUs here; use one of them, or 'cpu'.")
    return device
