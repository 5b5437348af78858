"""Every command of the command line, by the words that call it: `demo`, `encoders list`."""

from typing import Any

from typer.main import get_command

from workbench.cli import app


def leaves(group: Any, words: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        called = f"{words} {name}".strip()
        found |= leaves(command, called) if isinstance(command, type(group)) else {called: command}
    return found


COMMANDS = leaves(get_command(app))
