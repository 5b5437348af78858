"""What a person sees of the injection objectives: which there are, and which of them are controls."""

import json
from typing import Literal

from rich.table import Table

from workbench.objectives.facts import OBJECTIVES
from workbench.screen import console


def list_objectives(format: Literal["terminal", "json"]) -> None:
    if format == "json":
        rows = [{"name": name, **vars(one)} for name, one in OBJECTIVES.items()]
        print(json.dumps(rows, indent=1))
        return
    for control, title in ((False, "Objectives"), (True, "Negative controls")):
        table = Table("name", "what the encoder learns", "reads", "trains", "paper", title=title)
        for name, one in OBJECTIVES.items():
            if one.control == control:
                trains = "vision" if len(one.reaches) == 1 else "all slots"
                table.add_row(name, one.does, ", ".join(one.reads) or "–", trains, one.paper)
        console.print(table)
