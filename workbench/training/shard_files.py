"""Tensors that are spread over processes, on disk: torch's distributed checkpoint (DCP), as safetensors.

Each process writes a file of what it has. Any other number of processes reads what it needs of them.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from workbench.record import file_hash
from workbench.training.group import Group, connected

Like = Callable[[str, torch.Size, torch.dtype], Tensor]
"""A tensor that one of that name, size (of the whole) and type is read into: whole, or sharded as it is needed."""


@dataclass(frozen=True)
class ShardFiles:
    """Files that the processes of `group` write and read together."""

    group: Group

    def write(self, tensors: Mapping[str, Tensor], folder: Path) -> dict[str, str]:
        """Writes and flushes them to `folder`; returns the SHA-256 of all files, by name.

        A full disk is an OSError in every process.
        """
        writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
        with connected(), _as_it_was():
            save(dict(tensors), storage_writer=writer, no_dist=self.group.size == 1)
        mine = sorted(folder.glob("*.safetensors"))[self.group.rank :: self.group.size]
        shares = self.group.all({file.name: file_hash(file) for file in mine})
        return {name: sha256 for share in shares for name, sha256 in share.items()}

    def read(self, folder: Path, like: Like) -> dict[str, Tensor]:
        """What `write` was given, as `like` wants each."""
        reader = HuggingFaceStorageReader(str(folder))
        found: dict[str, Tensor] = {}
        for name, facts in reader.read_metadata().state_dict_metadata.items():
            assert isinstance(facts, TensorStorageMetadata)
            found[name] = like(name, facts.size, facts.properties.dtype)
        with connected(), _as_it_was():
            load(found, storage_reader=reader, no_dist=self.group.size == 1)
        return found


@contextmanager
def _as_it_was() -> Iterator[None]:
    """The first error itself: torch tells of all of them in one that is no Exception. One process alone is no news."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            yield
    except CheckpointException as error:
        first, _ = next(iter(error.failures.values()))
        raise first from error
