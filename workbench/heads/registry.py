"""Which action heads there are: one row each."""

from collections.abc import Callable

from torch import Tensor

from workbench.actions import Actions
from workbench.errors import unknown
from workbench.heads.chunk_mlp import ChunkHead
from workbench.heads.contract import Head
from workbench.heads.flow_matching import FlowHead

HEADS: dict[str, Callable[..., Head]] = {"chunk-mlp": ChunkHead, "flow-matching": FlowHead}


def build_head(name: str, query_E: Tensor, *, chunk: int, actions: Actions) -> Head:
    """The head named `name` for a language model of width E, its query starting at `query_E`."""
    if name not in HEADS:
        raise unknown("head", name, HEADS)
    return HEADS[name](query_E, chunk=chunk, actions=actions)
