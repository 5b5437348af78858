"""Weights on disk: safetensors only, written aside and renamed, checked against the hash in the run's record."""

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workbench.errors import UserError
from workbench.record import file_hash, read_json

WEIGHTS = "policy.safetensors"


def save_weights(module: nn.Module, run: Path) -> str:
    """Write the module's tensors into the run's folder; returns the file's SHA-256. A full disk is an OSError."""
    path = run / WEIGHTS
    aside = path.with_suffix(".tmp")
    write_tensors(module.state_dict(), aside)
    os.replace(aside, path)
    return file_hash(path)


def write_tensors(tensors: Mapping[str, Tensor], path: Path, *, facts: Mapping[str, str] | None = None) -> None:
    """A safetensors file, flushed to the disk, with `facts` in its header. A full disk is an OSError."""
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=dict(facts or {}))
    except SafetensorError as error:  # safetensors wraps the operating system's error into a text
        code = re.search(r"os error (\d+)", str(error))
        raise OSError(int(code[1]) if code else errno.EIO, str(error), str(path)) from error
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_weights(run: Path) -> Mapping[str, Tensor]:
    """The tensors of a finished run. Missing, truncated or altered weights are refused by name."""
    return read_tensors(checked_weights(run))


def checked_weights(run: Path) -> Path:
    """The weights file of a finished run, hashed but not read. Missing, truncated or altered it is refused by name."""
    path, result = run / WEIGHTS, run / "result.json"
    if result.is_file() and (failure := read_json(result).get("error")):
        raise UserError(f"The run {run.name} in {run.parent} has failed and left no weights: {failure}")
    if not path.is_file() or not result.is_file():
        raise UserError(
            f"The run {run.name} in {run.parent} has no finished weights ({path.name}): run its study first."
        )
    if file_hash(path) != read_json(result)["weights_sha256"]:
        raise UserError(
            f"{path} is truncated or was changed: its SHA-256 is not the recorded one. Delete {run} and run again."
        )
    return path


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a safetensors file. Missing or truncated, it is refused by name."""
    try:
        return load_file(path)
    except (SafetensorError, FileNotFoundError) as error:
        raise UserError(f"{path} is missing or truncated ({error}). Copy or make it again.") from error


def load_slot(slot: nn.Module, name: str, run: Path) -> None:
    """Copy the tensors of slot `name` of a finished run into `slot`; every key must fit."""
    tensors = {k.removeprefix(f"{name}."): v for k, v in read_weights(run).items() if k.startswith(f"{name}.")}
    try:
        slot.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        why = shorten(str(error), 300)  # torch lists every key, a line each
        raise UserError(f"The {name} slot of run {run.name} does not fit this model: {why}") from error
