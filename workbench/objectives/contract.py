"""What an injection objective promises: a loss on a policy, from what it reads of some moments of demonstrations."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.objectives.moments import Signals
from workbench.policy import Policy

# B moments  N image tokens  D encoder width


@dataclass(frozen=True)
class Sizes:
    """What an objective's own parameters are made for: encoder tokens [N, D], S state values, K steps of A actions.

    `chunk` is K, of the budget: as many actions as a policy predicts at once.
    """

    tokens: int
    dim: int
    state: int
    actions: int
    chunk: int


class Objective(nn.Module, ABC):
    """One signal. Its own parameters (heads, projections) are trained beside the encoder and dropped afterwards.

    It reads what it needs of the signals by their methods, and returns the parts of its loss, which are summed.
    """

    @abstractmethod
    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        """The parts of the loss, each a mean over the batch; its gradient reaches the slots that its facts name."""


class Pooled(nn.Module):
    """Tokens [B, N, D] → [B, out]: a learned query attends to them, then an MLP; a mean loses where things are."""

    def __init__(self, dim: int, out: int, *, hidden: int = 128) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.key = nn.Linear(dim, hidden)
        self.value = nn.Linear(dim, hidden)
        self.query_H = nn.Parameter(torch.randn(hidden) / hidden**0.5)
        self.mlp = nn.Sequential(nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, out))

    def forward(self, seen_BND: Tensor) -> Tensor:
        normed_BND = self.norm(seen_BND)
        share_BN = (self.key(normed_BND) @ self.query_H).softmax(dim=-1)
        return self.mlp((share_BN[..., None] * self.value(normed_BND)).sum(dim=1))
