"""A control: the weights of a module in random order. Their distribution in each tensor is as it was."""

import torch
from torch import nn


@torch.no_grad()
def shuffle_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Permute the numbers within each parameter, in place, by draws from a CPU generator; buffers stay."""
    for parameter in module.parameters():
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))
