"""What an encoder computes on the way, layer by layer. The only place that hooks into a model."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from encoders.contract import Encoder
from encoders.fused import Fused
from encoders.timm_map import TimmMap, channels_last

# B frames  N tokens  D width

READ = "tokens read"
"""The name of what the encoder returns, which is what a policy reads."""


@dataclass(frozen=True, eq=False)
class Block:
    """A block (or stage) and how its output lies: tokens, or a map with channels in the second or the last place."""

    name: str
    module: nn.Module
    channels_last: bool

    def tokens_BND(self, output: Tensor, frames: int) -> Tensor:
        """Some towers lay the tokens of all frames one after the other: `[B·N, D]`."""
        if output.ndim == 2:
            return output.unflatten(0, (frames, -1))
        if output.ndim == 4:
            return output.flatten(1, 2) if self.channels_last else output.flatten(2).transpose(1, 2)
        return output


def blocks(encoder: Encoder, prefix: str = "") -> Iterator[Block]:
    """Every block of an encoder, counted from 1; of a fused one those of the first member, then of the second."""
    if isinstance(encoder, Fused):
        yield from blocks(encoder.first, f"{prefix}first, ")
        yield from blocks(encoder.second, f"{prefix}second, ")
        return
    last = isinstance(encoder, TimmMap) and channels_last(encoder.tower)
    for number, module in enumerate(encoder.blocks, start=1):
        yield Block(f"{prefix}block {number}", module, last)


def layers(encoder: Encoder, image_BHWC: Tensor) -> dict[str, Tensor]:
    """`[B, N, D]` behind every block, prefix tokens included, and last the tokens that the policy reads."""
    seen: dict[str, Tensor] = {}
    watched = list(blocks(encoder))
    handles = [block.module.register_forward_hook(_keep(seen, block, len(image_BHWC))) for block in watched]
    try:
        with torch.no_grad():
            read_BND = encoder(image_BHWC)
    finally:
        for handle in handles:
            handle.remove()
    return {block.name: seen[block.name] for block in watched} | {READ: read_BND}


def _keep(seen: dict[str, Tensor], block: Block, frames: int):
    def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        first = output[0] if isinstance(output, tuple) else output  # some blocks return their attention too
        seen[block.name] = block.tokens_BND(first, frames)

    return hook
