"""A file of weights as plain tensors: safetensors, or a pickle that holds nothing else."""

import struct
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from encoders.errors import WeightsMismatch, WeightsMissing

WRAPPERS = ("state_dict", "model")  # the keys under which training scripts put the tensors
BROKEN = (
    UnpicklingError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""What torch's reader of pickles raises on one that it does not let through, or that is damaged."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a file on the CPU. Code in a pickle is never run: it must load with `weights_only=True`.

    Raises `WeightsMissing` where there is no file or it is damaged, and `WeightsMismatch` where it holds other things.
    """
    if path.suffix == ".safetensors":
        safetensors_keys(path)
        return load_file(path)
    _check_there(path)
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except BROKEN as error:
        raise WeightsMismatch(
            f"The file {path} is no safetensors and does not load with weights_only=True: it is refused, because a "
            "pickle can run code. Save its tensors with safetensors.torch.save_file."
        ) from error
    for key in WRAPPERS:
        held = held[key] if isinstance(held, dict) and isinstance(held.get(key), dict) else held
    if not isinstance(held, dict) or not all(isinstance(value, Tensor) for value in held.values()):
        raise WeightsMismatch(f"The file {path} holds no dictionary of tensors.")
    return held


def safetensors_keys(path: Path) -> set[str]:
    """The names of the tensors in a safetensors file; its header is read, which also states the file's length."""
    _check_there(path)
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except SafetensorError as error:
        raise WeightsMissing(f"The weights file {path} is damaged ({error}). Delete it and fetch it again.") from error


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise WeightsMissing(f"There is no weights file {path}.")


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Every tensor of the module from `tensors`, and none left over; raises `WeightsMismatch` that lists the keys."""
    own = module.state_dict()
    check_keys(missing=set(own) - set(tensors), unexpected=set(tensors) - set(own), what=what)
    wrong = [key for key in own if own[key].shape != tensors[key].shape]
    if wrong:
        shapes = ", ".join(f"{key} {list(tensors[key].shape)} for {list(own[key].shape)}" for key in wrong)
        raise WeightsMismatch(f"{what} does not fit: {shorten(shapes, 500)}.")
    module.load_state_dict(dict(tensors), strict=True)


def check_keys(*, missing: set[str], unexpected: set[str], what: str) -> None:
    """Raises `WeightsMismatch` unless both are empty."""
    if missing or unexpected:
        lists = [
            f"{kind} {shorten(', '.join(sorted(keys)), 500)}"
            for kind, keys in (("missing", missing), ("unexpected", unexpected))
            if keys
        ]
        raise WeightsMismatch(f"{what} does not fit: {'; '.join(lists)}.")
