"""The head slot: the query token and what turns its hidden state into a chunk of actions."""

from torch import Tensor, nn

from workbench.errors import unknown


class ChunkHead(nn.Module):
    """An MLP for the arm (tanh) and one for the gripper (logit), after VLM4VLA's head (arXiv:2601.03309, §3.2).

    `query_E` starts as the embedding that it is given (prompt tuning, arXiv:2104.08691, §3.2), not at zero:
    an RMSNorm of nearly zero has a slope of a thousand, and its gradient drowned all others under the clipping.
    `forward(hidden_BE)` gives `arm [B, K, A - 1]` in [-1, 1] and `grip [B, K]` logits of "closed".
    """

    def __init__(self, query_E: Tensor, *, chunk: int, actions: int):
        super().__init__()
        width = len(query_E)
        hidden = min(1024, 2 * width)
        self.query_E = nn.Parameter(query_E.detach().clone())
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


def build_head(name: str, query_E: Tensor, *, chunk: int, actions: int) -> ChunkHead:
    """The head named `name` for a language model of width E, its query starting at `query_E`."""
    if name not in HEADS:
        raise unknown("head", name, HEADS)
    return HEADS[name](query_E, chunk=chunk, actions=actions)
