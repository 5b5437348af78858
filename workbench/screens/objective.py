"""What a person sees of the injection objectives: which there are, and which of them are controls or anchors."""

import json
from typing import Literal

from rich.table import Table

from workbench.objectives.rows import OBJECTIVES, SAID, VISION, Facts
from workbench.screens.console import console

TITLES = ("Objectives", "Negative controls", "Anchors, in a sum with another: state + 0.1*keep-features")


def list_objectives(format: Literal["terminal", "json"]) -> None:
    if format == "json":
        rows = [{"name": name, **vars(one)} for name, one in OBJECTIVES.items()]
        print(json.dumps(rows, indent=1))
        return
    for title in TITLES:
        table = Table("name", "what the encoder learns", "reads", "trains", "paper", title=title)
        for name, one in OBJECTIVES.items():
            if _title(one) == title:
                reads = ", ".join(one.reads) or "–"
                table.add_row(_shown(name, one), one.does, reads, _trains(one), one.paper)
        console.print(table)


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
