"""Tokens that read a memory: the block of which the resampler and the flow-matching expert are made."""

import torch
from torch import Tensor, nn
from torch.nn import functional

# B batch  T tokens  L memory positions  W width of the tokens  M width of the memory  H attention heads

HEAD_WIDTH = 64


class Reader(nn.Module):
    """Tokens attend, in one softmax, to a memory and to each other, then pass an MLP; pre-norm residuals.

    The memory has key and value projections of its own, as the two experts of π0 have (arXiv:2410.24164, §IV).
    `width` is a multiple of 64. Projections have no bias: a key's bias has no gradient.
    """

    def __init__(self, width: int, memory: int):
        super().__init__()
        self.heads = max(4, width // HEAD_WIDTH)
        self.norm, self.memory_norm = nn.LayerNorm(width), nn.LayerNorm(memory)
        self.ask = nn.Linear(width, width, bias=False)
        self.offer = nn.Linear(width, 2 * width, bias=False)
        self.memory_offer = nn.Linear(memory, 2 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def remember(self, memory_BLM: Tensor) -> Tensor:
        """Keys and values of the memory, `[2, B, H, L, W / H]`: computed once, read as often as wanted."""
        return self._split(self.memory_offer(self.memory_norm(memory_BLM)), 2)

    def forward(self, tokens_BTW: Tensor, remembered: Tensor, *, may_read_BS: Tensor | None = None) -> Tensor:
        """The tokens after one block. `may_read_BS` (bool) says which of the S = L + T keys a row may attend to."""
        mask = None if may_read_BS is None else may_read_BS[:, None, None]
        normed_BTW = self.norm(tokens_BTW)
        (asked,) = self._split(self.ask(normed_BTW), 1)
        keys, values = torch.cat([remembered, self._split(self.offer(normed_BTW), 2)], dim=-2)
        read = functional.scaled_dot_product_attention(asked, keys, values, attn_mask=mask)
        tokens_BTW = tokens_BTW + self.mix(read.transpose(1, 2).flatten(2))
        return tokens_BTW + self.mlp(tokens_BTW)

    def _split(self, mixed: Tensor, parts: int) -> Tensor:
        """`[B, T, parts * W]` → `[parts, B, H, T, W / H]`."""
        return mixed.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4)
