"""Where an interrupted training goes on: all that it may have changed, written aside, hashed, renamed.

A checkpoint's name holds its step and the SHA-256 of its bytes, so that one which is torn or altered tells itself.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from workbench.record import CHECKPOINTS, file_hash
from workbench.weights import read_tensors, write_tensors

KEPT = 2
SHARE = 0.02
"""Of a training's time that writing checkpoints may take: the next one is due when the last one has paid for itself."""
FIRST_SECONDS = 5.0
"""A training that is shorter is not worth one."""


@dataclass(frozen=True)
class Checkpoint:
    """`tensors` and `facts` (JSON) as they were after `step` optimiser steps."""

    step: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose name begins with `prefix` and a dot, without them."""
        return {k.removeprefix(f"{prefix}."): v for k, v in self.tensors.items() if k.startswith(f"{prefix}.")}


class Keeper:
    """The checkpoints in a run's folder, and when the next one is due. `refused` names those that were of no use."""

    def __init__(self, run: Path, *, share: float = SHARE, first_seconds: float = FIRST_SECONDS):
        self.folder, self.share = run / CHECKPOINTS, share
        self.due_at = time.monotonic() + first_seconds
        self.refused: list[str] = []

    def due(self) -> bool:
        return time.monotonic() >= self.due_at

    def keep(self, checkpoint: Checkpoint) -> None:
        """Write it to the disk, then remove all but the last two. A full disk is an OSError; what was kept stays."""
        began = time.monotonic()
        self.folder.mkdir(exist_ok=True)
        aside = self.folder / "next.tmp"
        write_tensors(checkpoint.tensors, aside, facts={"facts": json.dumps(checkpoint.facts)})
        os.replace(aside, self.folder / f"{checkpoint.step:08d}-{file_hash(aside)[:16]}.safetensors")
        _flush(self.folder)
        for old in self._kept()[:-KEPT]:
            old.unlink()
        self.due_at = time.monotonic() + (time.monotonic() - began) / self.share

    def latest(self, misfit: Callable[[Checkpoint], str]) -> Checkpoint | None:
        """The newest that is whole and of which `misfit` has nothing to say; those that are not are removed."""
        for path in reversed(self._kept()):
            if file_hash(path)[:16] != path.stem.partition("-")[2]:
                why = "torn or altered"
            else:
                found = _read(path)
                why = misfit(found)
                if not why:
                    return found
            self.refused.append(f"{path.name}: {why}")
            path.unlink()
        return None

    def _kept(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*-*.safetensors"))


def _read(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["facts"])
    return Checkpoint(int(path.stem.partition("-")[0]), read_tensors(path), facts)


def _flush(folder: Path) -> None:
    """Make renames in `folder` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def generators(devices: Iterable[torch.device]) -> dict[str, Tensor]:
    """The states of torch's global generators: the CPU's, and those of the GPUs among `devices`."""
    found = {"cpu": torch.get_rng_state()}
    return found | {str(one): torch.cuda.get_rng_state(one) for one in set(devices) if one.type == "cuda"}


def restore_generators(states: Mapping[str, Tensor]) -> None:
    """The reverse of `generators`."""
    for device, state in states.items():
        if device == "cpu":
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, device)
