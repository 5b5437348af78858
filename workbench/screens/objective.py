"""What a person sees of the injection objectives: which there are, and which of them are controls or anchors."""

import json
from typing import Literal

from rich.markup import escape
from rich.table import Column, Table

from workbench.objectives.rows import OBJECTIVES, SAID, VISION, Facts
from workbench.screens.console import console

TITLES = ("Objectives", "Negative controls", "Anchors, in a sum with another: state + 0.1*keep-features")


def list_objectives(format: Literal["terminal", "json"]) -> None:
    if format == "json":
        rows = [{"name": name, **vars(one)} for name, one in OBJECTIVES.items()]
        print(json.dumps(rows, indent=1))
        return
    for title in TITLES:
        table = Table(Column("name", no_wrap=True), "what the encoder learns", title=title, show_lines=True)
        for name, one in OBJECTIVES.items():
            if _title(one) == title:
                table.add_row(escape(_shown(name, one)), escape(_told(one)))
        console.print(table)


def _told(one: Facts) -> str:
    """In lines, so that a name is whole on a narrow screen too: it is there to be typed."""
    reads = f"reads {', '.join(one.reads)}" if one.reads else "reads nothing but pictures"
    choice = [f"behind the colon: {one.choice}"] if one.choice else []
    return "\n".join((one.does, f"{reads}; trains {_trains(one)}", *choice, one.paper))


def _title(one: Facts) -> str:
    return TITLES[2 if one.anchor else 1 if one.control else 0]


def _shown(name: str, one: Facts) -> str:
    """With what stands behind its colon, in brackets where it may be left out."""
    if not one.choice:
        return name
    return f"{name}[:…]" if one.choice.startswith("optional") else f"{name}:…"


def _trains(one: Facts) -> str:
    match one.reaches:
        case reached if reached == VISION:
            return "vision"
        case reached if reached == SAID:
            return "all slots but the head"
        case _:
            return "all slots"
