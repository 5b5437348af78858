"""What a person sees of trained policies that leave their runs: saved, played."""

import json
from pathlib import Path
from typing import Literal

from rich.table import Table

from workbench.benchmarks.contract import Outcome, Protocol
from workbench.errors import UserError
from workbench.record import open_record
from workbench.screen import console, stage, told_aside


def save_run(id: str, folder: Path, root: Path) -> None:
    from workbench.publish import save_policy

    save_policy(open_record(root, id), folder)
    console.print(f"The policy lies in {folder}; play it with: workbench evaluate {folder}", markup=False)


def evaluate_policy(
    folder: Path, tasks: tuple[str, ...], episodes: int | None, device: str, format: Literal["terminal", "json"]
) -> None:
    """Play what the policy was trained for, or what is asked, and print the success of each task."""
    from workbench.evaluate import in_manifest_order, play
    from workbench.plan import Inputs
    from workbench.publish import load_policy

    player, config = load_policy(folder, device=device)
    asked = {"tasks": tasks} if tasks else {}
    asked |= {"initial_states": episodes} if episodes else {}
    try:
        protocol = Protocol.model_validate({**dict(config.protocol or Protocol()), **asked})
    except ValueError as error:
        raise UserError(str(error)) from error
    played, purpose = [], f"{', '.join(protocol.tasks)}: episodes of the {protocol.split} split"
    with told_aside(format == "json"), stage("Playing", purpose) as progress:
        for one in play(player, protocol, Inputs()):
            played.append(one)
            progress(len(played), len(protocol.manifest()))
    outcomes = [one.outcome for one in in_manifest_order(played, protocol)]
    rows = [_row(task, [o for o in outcomes if o.task == task]) for task in protocol.tasks]
    if format == "json":
        print(json.dumps({"policy": str(folder), "manifest": protocol.manifest_digest(), "tasks": rows}, indent=1))
        return
    table = Table("task", "solved", "success in %, 95 % interval (Wilson)")
    for row in rows:
        low, high = row["ci95"]
        rate = f"{100 * row['success']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        table.add_row(row["task"], f"{row['solved']} of {row['episodes']}", rate)
    console.print(table)


def _row(task: str, outcomes: list[Outcome]) -> dict:
    from scipy.stats import binomtest

    solved = sum(outcome.success for outcome in outcomes)
    interval = binomtest(solved, len(outcomes)).proportion_ci(method="wilson")
    rate = solved / len(outcomes)
    ends = [float(interval.low), float(interval.high)]
    return {"task": task, "episodes": len(outcomes), "solved": solved, "success": rate, "ci95": ends}
