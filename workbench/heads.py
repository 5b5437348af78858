"""The head slot: the query token and what turns its hidden state into a chunk of actions."""

import torch
from torch import Tensor, nn

from workbench.errors import unknown


class ChunkHead(nn.Module):
    """An MLP for the arm (tanh) and one for the gripper (logit), after VLM4VLA's head (arXiv:2601.03309, §3.2).

    `forward(hidden_BE)` gives `arm [B, K, A - 1]` in [-1, 1] and `grip [B, K]` logits of "closed".
    """

    def __init__(self, width: int, *, chunk: int, actions: int):
        super().__init__()
        hidden = min(1024, 2 * width)
        self.query_E = nn.Parameter(torch.zeros(width))
        self.trunk = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU())
        self.arm = nn.Sequential(
            nn.Linear(hidden, hidden // 2), nn.GELU(), nn.Linear(hidden // 2, chunk * (actions - 1))
        )
        self.grip = nn.Sequential(nn.Linear(hidden, hidden // 4), nn.GELU(), nn.Linear(hidden // 4, chunk))
        self.chunk = chunk

    def forward(self, hidden_BE: Tensor) -> tuple[Tensor, Tensor]:
        trunk = self.trunk(hidden_BE)
        return self.arm(trunk).tanh().unflatten(-1, (self.chunk, -1)), self.grip(trunk)


HEADS = {"chunk-mlp": ChunkHead}


def build_head(name: str, width: int, *, chunk: int, actions: int) -> ChunkHead:
    """The head named `name` for a language model of `width`."""
    if name not in HEADS:
        raise unknown("head", name, HEADS)
    return HEADS[name](width, chunk=chunk, actions=actions)
