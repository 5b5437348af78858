"""A control: the weights of an encoder in random order. Their distribution in each tensor is as it was."""

import torch

from encoders.contract import Encoder


@torch.no_grad()
def shuffle_weights(encoder: Encoder, generator: torch.Generator) -> None:
    """Permute the numbers within each parameter, in place, by draws from a CPU generator; buffers stay."""
    for parameter in encoder.parameters():
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))
