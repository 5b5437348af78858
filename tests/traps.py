"""Where files that mean harm are planted, and what shows that something of them ran."""

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.errors import UserError

DEEP = 100_000
"""Brackets within brackets: a parser that calls itself comes to its limit."""

Door = Callable[[], object]
"""What a user calls on the file."""


class Runs:
    """Pickled, it calls `os.system` when it is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


@dataclass(frozen=True)
class Trap:
    """`folder` is where to plant; `marker` is there once something of what was planted ran."""

    folder: Path
    marker: Path

    @property
    def command(self) -> str:
        return f"touch {self.marker}"

    def pickled(self, path: Path) -> Path:
        path.write_bytes(pickle.dumps(Runs(self.command), protocol=2))
        return path

    def torch_saved(self, path: Path) -> Path:
        """A pickle within a zip, as torch writes it."""
        torch.save({"weight": Runs(self.command)}, path)
        return path

    def module(self, folder: Path) -> None:
        """`evil.py`, which runs the command when it is imported."""
        (folder / "evil.py").write_text(f"import os\nos.system({self.command!r})\nclass Evil: pass\n")

    def deep(self, path: Path, around: str = "{}") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(around.replace("{}", "[" * DEEP + "]" * DEEP))
        return path


def change(file: Path, **values: Any) -> Path:
    """Other values in a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return file


def spring(trap: Trap, door: Door, named: str) -> None:
    """Go through the door: one sentence that names the file, and nothing ran."""
    with pytest.raises(UserError) as caught:
        door()
    assert named in str(caught.value) and "Traceback" not in str(caught.value)
    assert not trap.marker.exists()
