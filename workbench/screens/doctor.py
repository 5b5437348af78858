"""What a person sees of a machine's health: one line a thing, and the remedy under each that is missing."""

import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from rich.text import Text

from workbench.benchmarks.doctor import Check, examine
from workbench.screens.console import console


def show_doctor(benchmark: str | None, root: Path, format: Literal["terminal", "json"]) -> bool:
    """Print what was found, and tell whether all that is needed is there. Raises UserError for an unknown benchmark."""
    with contextlib.redirect_stdout(sys.stderr):  # simulators talk
        report = examine(benchmark, root)
    if format == "json":
        told = {"benchmark": benchmark, "sound": report.sound}
        told |= {"checks": [asdict(check) for check in report.checks]}
        print(json.dumps(told | {"benchmarks": [asdict(check) for check in report.others]}, indent=1))
        return report.sound
    for check in report.checks:
        console.print(_line(check, wrong="✗"))
        if not check.ok:
            console.print(Text(f"  → {check.remedy}", style="bold"))
    if report.others:
        console.print("Benchmarks", style="bold")
        for check in report.others:
            console.print(_line(check, wrong="–"))
        console.print("What is lacking, and its remedy: workbench doctor BENCHMARK", style="dim", highlight=False)
    missing = [check.name for check in report.checks if not check.ok]
    console.print(f"Missing: {', '.join(missing)}." if missing else "All that is needed is here.", highlight=False)
    return report.sound


def _line(check: Check, wrong: str) -> Text:
    mark = Text("✓", style="green") if check.ok else Text(wrong, style="red" if wrong == "✗" else "dim")
    return Text.assemble(mark, " ", (check.name, "bold"), f"  {check.found}")
