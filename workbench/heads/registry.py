"""Which action heads there are: one row each."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from workbench.actions import Actions
from workbench.errors import unknown
from workbench.heads.chunk_mlp import ChunkHead
from workbench.heads.contract import Head
from workbench.heads.flow_matching import FlowHead

HEADS: dict[str, Callable[..., Head]] = {"chunk-mlp": ChunkHead, "flow-matching": FlowHead}


def build_head(name: str, query_E: Tensor, *, chunk: int, actions: Actions, state: int = 0) -> Head:
    """The head named `name` for a language model of width E, its query starting at `query_E`.

    With `state` it takes so many numbers of the robot's state. Everything else is drawn as without.
    """
    if name not in HEADS:
        raise unknown("head", name, HEADS)
    head = HEADS[name](query_E, chunk=chunk, actions=actions)
    if state:
        with torch.random.fork_rng(devices=[]):
            head.state_token = _state_token(query_E, state)
    return head


def _state_token(start_E: Tensor, state: int) -> nn.Linear:
    """The mean state becomes the embedding that the query starts at, others lie about as far from it as it is long.

    A state near nothing would be as bad for an RMSNorm as such a query.
    """
    token = nn.Linear(state, len(start_E))
    with torch.no_grad():
        token.weight.normal_().mul_(start_E.pow(2).mean().sqrt() / math.sqrt(state))
        token.bias.copy_(start_E)
    return token
