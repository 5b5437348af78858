"""Where an interrupted training goes on: all that it may have changed, written aside, hashed, renamed.

A checkpoint's name holds its step and the SHA-256 of its bytes, so that one which is torn or altered tells itself. One
of sharded tensors is a folder: a file of each process, and a seal with the SHA-256 of each, whose own is in the name.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from workbench.record import CHECKPOINTS, file_hash, read_json, write_json
from workbench.weights import read_tensors, write_tensors

KEPT = 2
SEAL = "seal.json"
SHARE = 0.02
"""Of a training's time that writing checkpoints may take: the next one is due when the last one has paid for itself."""
FIRST_SECONDS = 5.0
"""A training that is shorter is not worth one."""


@dataclass(frozen=True)
class Checkpoint:
    """`tensors` and `facts` (JSON) as they were after `step` optimiser steps.

    Tensors that are sharded are not here but in the files of the folder `path`; see `shard_files`.
    """

    step: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    path: Path = Path()

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
        self._kept_from(aside, f"{checkpoint.step:08d}-{file_hash(aside)[:16]}.safetensors", began)

    def room(self) -> Path:
        """An empty folder, for what `keep_shards` is to keep."""
        self.folder.mkdir(exist_ok=True)
        aside = self.folder / "shards.tmp"
        _remove(aside)
        aside.mkdir()
        return aside

    def keep_shards(self, step: int, facts: Mapping[str, Any], *, write: Callable[[Path], Mapping[str, str]]) -> None:
        """The same of what `write` puts into the folder that it is given, `room`; it returns each file's SHA-256."""
        began, aside = time.monotonic(), self.folder / "shards.tmp"
        write_json(aside / SEAL, {"facts": facts, "files": write(aside)})
        _flush(aside)
        self._kept_from(aside, f"{step:08d}-{file_hash(aside / SEAL)[:16]}", began)

    def latest(self, misfit: Callable[[Checkpoint], str]) -> Checkpoint | None:
        """The newest that is whole and of which `misfit` has nothing to say; those that are not are removed."""
        for path in reversed(self._kept()):
            if not (why := _damage(path)):
                found = read_checkpoint(path)
                why = misfit(found)
                if not why:
                    return found
            self.refused.append(f"{path.name}: {why}")
            _remove(path)
        return None

    def _kept(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*-*"))

    def _kept_from(self, aside: Path, name: str, began: float) -> None:
        os.replace(aside, self.folder / name)
        _flush(self.folder)
        for old in self._kept()[:-KEPT]:
            _remove(old)
        self.due_at = time.monotonic() + (time.monotonic() - began) / self.share


def read_checkpoint(path: Path) -> Checkpoint:
    """One that is known to be whole, without the tensors that are sharded."""
    step = int(path.stem.partition("-")[0])
    if path.is_dir():
        return Checkpoint(step, {}, read_json(path / SEAL)["facts"], path)
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["facts"])
    return Checkpoint(step, read_tensors(path), facts, path)


def _damage(path: Path) -> str:
    """What is wrong with a checkpoint's bytes, naming the file of several, or ""."""
    sealed = path / SEAL if path.is_dir() else path
    if not sealed.is_file() or file_hash(sealed)[:16] != path.stem.partition("-")[2]:
        return "torn or altered"
    files: dict[str, str] = read_json(sealed)["files"] if path.is_dir() else {}
    for name, sha256 in files.items():
        if not (path / name).is_file() or file_hash(path / name) != sha256:
            return f"its file {name} is torn or altered"
    strange = {each.name for each in path.iterdir()} - {SEAL, *files} if path.is_dir() else set()
    return f"{min(strange)} is none of its files" if strange else ""


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
