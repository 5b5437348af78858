"""Every command of the command line, by the words that call it: `demo`, `encoders list`; and what it says."""

import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import pytest
from typer.main import get_command

from workbench.cli import app, main
from workbench.screens.console import console


def leaves(group: Any, words: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        called = f"{words} {name}".strip()
        found |= leaves(command, called) if isinstance(command, type(group)) else {called: command}
    return found


COMMANDS = leaves(get_command(app))


@dataclass(frozen=True)
class Said:
    """What a command line came to: exit code, standard output, standard error."""

    code: int
    out: str
    error: str


def say(*arguments: str) -> Said:
    """Run a command line in this process, as `workbench` does it."""
    out, error = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(error):
        patch.setattr(sys, "argv", ["workbench", *arguments])
        patch.setenv("COLUMNS", "200")
        patch.setattr(console, "_width", 200)  # it was made when it was first imported
        with pytest.raises(SystemExit) as caught:
            main()
    return Said(int(caught.value.code or 0), out.getvalue(), error.getvalue())


def refusal(*arguments: str) -> str:
    """What a command line says to a user's mistake: one sentence on standard error, nothing else, exit code 2."""
    said = say(*arguments)
    assert said.code == 2 and said.error.startswith("error: ") and said.error.count("\n") == 1, said
    return said.error
