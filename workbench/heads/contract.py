"""What every action head promises: the query token, a loss on demonstrated actions, and actions at test."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.backbones.contract import Hidden

# B batch  L positions of the sequence  E language width  K action steps  A action dimensions, a binary gripper last
# S state width


@dataclass(frozen=True)
class Chunk:
    """What to do next: K steps of what is regressed, float32 in [-1, 1], and whether a binary gripper is closed."""

    arm_BKA: Tensor
    closed_BK: Tensor | None


Drawn = tuple[Tensor, ...]


class Head(nn.Module, ABC):
    """Reads the hidden states of a sequence that ends with the query and gives `chunk` (K) actions at once.

    `state_token` turns the robot's state into one more token, which stands before the query; None: the policy is not
    given any.

    The query's learned start, `query_E`, begins as the embedding that it is given (prompt tuning, arXiv:2104.08691,
    §3.2), not at zero: an RMSNorm of nearly zero has a slope of a thousand, and its gradient drowned all others under
    the clipping.
    """

    def __init__(self, query_E: Tensor, *, chunk: int):
        super().__init__()
        self.chunk = chunk
        self.query_E = nn.Parameter(query_E.detach().clone())
        self.state_token: nn.Linear | None = None

    def suffix(self, state_BS: Tensor | None) -> Tensor:
        """What the language model is told last: `[1, 1, E]`, the query, or `[B, 2, E]`, the state and the query.

        `state_BS` is float32, of mean 0 and standard deviation 1 over the demonstrations. Raises ValueError where it
        lacks, or where the head does not take any.
        """
        query_11E = self.query_E[None, None]
        if (self.state_token is None) != (state_BS is None):
            raise ValueError(f"this policy {'needs the' if self.state_token else 'is given no'} state of the robot")
        if self.state_token is None or state_BS is None:
            return query_11E
        state_B1E = self.state_token(state_BS.to(self.query_E.dtype))[:, None].to(self.query_E.dtype)
        return torch.cat([state_B1E, query_11E.expand(len(state_BS), -1, -1)], dim=1)

    @abstractmethod
    def draw(self, action_BKA: Tensor) -> Drawn:
        """What the loss on these actions draws, B rows each, from the global generator, as dropout does."""

    @abstractmethod
    def loss(
        self, hidden: Hidden, action_BKA: Tensor, padded_BK: Tensor, drawn: Drawn | None = None
    ) -> Mapping[str, Tensor]:
        """The parts of the loss, which are summed; each is a mean over real steps, those that are not padding.

        Steps of `padded_BK` lie beyond the episode's end: never counted. `action_BKA` lies in [-1, 1], a binary gripper
        1 where it is closed and -1 where it is open. What is `drawn` is drawn now where it is not given.
        """

    @abstractmethod
    def act(self, hidden: Hidden, noise: Sequence[torch.Generator]) -> Chunk:
        """The next K steps; what is drawn for a row is drawn from its own generator, on the CPU.

        So an episode does not depend on which others are played beside it, nor on the device.
        """


def mean_of_real(error_BK: Tensor, padded_BK: Tensor) -> Tensor:
    """The mean over the steps that are not padding; 0 where all are."""
    real_BK = (~padded_BK).float()
    return (error_BK * real_BK).sum() / real_BK.sum().clamp(min=1)
