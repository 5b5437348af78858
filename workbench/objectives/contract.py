"""What an injection objective promises: a loss on a policy, from what it reads of some moments of demonstrations."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.actions import Actions
from workbench.backbones.contract import Backbone
from workbench.objectives.moments import Moments, Signals
from workbench.policy import Policy

# B moments  N image tokens  D encoder width


@dataclass(frozen=True)
class Sizes:
    """What an objective's own parameters are made for: encoder tokens [N, D], S state values, K steps of actions.

    `chunk` is K, of the budget: as many actions as a policy predicts at once.
    """

    tokens: int
    dim: int
    state: int
    actions: Actions
    chunk: int


@dataclass(frozen=True)
class Given:
    """What an objective is made for: a policy before its training, the backbone that it is of, and the data.

    `choice` is what stands behind the colon of the objective's name.
    """

    policy: Policy
    backbone: Backbone
    moments: Moments
    chunk: int
    choice: str = ""

    @property
    def sizes(self) -> Sizes:
        card, moments = self.policy.vision.card, self.moments
        return Sizes(card.tokens, card.dim, state=moments.state.shape[1], actions=moments.actions, chunk=self.chunk)


class Objective(nn.Module, ABC):
    """One signal. Its own parameters (heads, projections) are trained beside the encoder and dropped afterwards.

    It reads what it needs of the signals by their methods, and returns the parts of its loss, which are summed.
    """

    @abstractmethod
    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        """The parts of the loss, each a mean over the batch; its gradient reaches the slots that its facts name.

        What is drawn is drawn from torch's global generator.
        """

    def products(self) -> Mapping[str, str]:
        """Files that belong to what was learned, by name: a tokenizer. They are kept with the run."""
        return {}

    def told(self) -> Mapping[str, float]:
        """Figures about the objective itself that are recorded with the run."""
        return {}


class Sum(Objective):
    """Several objectives at once, each with its weight; their parts keep their names behind the objective's own."""

    def __init__(self, parts: Mapping[str, tuple[float, Objective]]) -> None:
        super().__init__()
        self.weights = [weight for weight, _ in parts.values()]
        self.names = list(parts)
        self.parts = nn.ModuleList(part for _, part in parts.values())

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        return {
            f"{name}/{label}": weight * value
            for name, weight, part in self._each()
            for label, value in part.loss(policy, signals).items()
        }

    def products(self) -> Mapping[str, str]:
        return {file: text for _, _, part in self._each() for file, text in part.products().items()}

    def told(self) -> Mapping[str, float]:
        return {f"{name}/{label}": figure for name, _, part in self._each() for label, figure in part.told().items()}

    def _each(self) -> Iterator[tuple[str, float, Objective]]:
        for name, weight, part in zip(self.names, self.weights, self.parts, strict=True):
            assert isinstance(part, Objective)
            yield name, weight, part


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
