"""What a person sees of trained policies that leave their runs: saved, played."""

import json
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table

from workbench.benchmarks.contract import Outcome, Protocol
from workbench.benchmarks.remote.simulators import SIMULATORS
from workbench.benchmarks.rules import rules_of
from workbench.errors import UserError
from workbench.journal import Journal, open_journal
from workbench.record import open_record, write_json
from workbench.results import Sitting, eval_info, success, task_rows
from workbench.screens.console import console, stage, told_aside
from workbench.shards import FolderPerformer, longest_first, perform, rounds_of

if TYPE_CHECKING:
    from workbench.publish import PolicyConfig


@dataclass(frozen=True)
class Asked:
    """What is to be played: these tasks or the policy's own, where, by how many workers (None: by this process)."""

    tasks: tuple[str, ...] = ()
    episodes: int | None = None
    device: str = "auto"
    workers: int | None = None

    def protocol(self, config: "PolicyConfig", *, policies: int = 1) -> Protocol:
        """What the policy was trained for, changed as asked, to be played by so many policies.

        Raises UserError where its benchmark has no such task, and where it cannot be played side by side.
        """
        changed: dict[str, Any] = {"tasks": self.tasks} if self.tasks else {}
        changed |= {"initial_states": self.episodes} if self.episodes else {}
        try:
            protocol = Protocol.model_validate({**dict(config.protocol or ()), **changed})
        except ValueError as error:
            raise UserError(str(error)) from error
        simulator = SIMULATORS.get(rules_of(protocol.benchmark).world)
        if policies * (self.workers or 1) > 1 and simulator and simulator.servers():
            raise UserError(
                f"{simulator.server_variable} names servers that answer one player at a time: unset it, so that each "
                "player starts its own, or let one policy play without workers."
            )
        return protocol


def save_run(id: str, folder: Path, root: Path) -> None:
    from workbench.publish import save_policy

    save_policy(open_record(root, id), folder)
    console.print(f"The policy lies in {folder}; play it with: workbench evaluate {folder}", markup=False)


def evaluate_policy(folder: Path, asked: Asked, output: Path | None, format: Literal["terminal", "json"]) -> None:
    """Play what the policy was trained for, or what is asked, and print the success of each task.

    With `output`, what is played is kept there, and what lies there is not played again.
    """
    from workbench.publish import policy_digest, read_config

    protocol = asked.protocol(read_config(folder))
    manifest, journal = protocol.manifest_digest(), None
    with told_aside(format == "json"), ExitStack() as stack:
        if output:
            kept = open_journal(output, manifest=manifest, policy=policy_digest(folder))
            journal = stack.enter_context(kept)
        outcomes, sitting = _played(folder, protocol, asked, journal)
        rows = task_rows(outcomes, protocol)
        answer = {"policy": str(folder), "manifest": manifest, "tasks": rows, **sitting.as_json()}
        if output and (sitting.episodes or not (output / "result.json").is_file()):
            write_json(output / "eval_info.json", eval_info(outcomes, protocol, sitting))
            write_json(output / "result.json", answer | success(outcomes))
    if format == "json":
        print(json.dumps(answer, indent=1))
    else:
        _print(rows, sitting)


def _played(folder: Path, protocol: Protocol, asked: Asked, journal: Journal | None) -> tuple[list[Outcome], Sitting]:
    """Every outcome of the manifest, in its order, and how long it took to play those that were not known."""
    known = dict(journal.played) if journal else {}
    before, total, began = len(known), len(protocol.manifest()), time.perf_counter()
    rounds = rounds_of(str(folder), longest_first(protocol), protocol, known=known)
    performers = {str(folder): FolderPerformer(folder, protocol, asked.device)}
    purpose = f"{', '.join(protocol.tasks)}: episodes of the {protocol.split} split"
    with stage("Playing", purpose) as progress, closing(perform(performers, rounds, workers=asked.workers)) as told:
        progress(before, total)
        for one in told:
            if journal:
                journal.add(one.outcome)
            known[one.start] = one.outcome
            progress(len(known), total)
    sitting = Sitting(len(known) - before, time.perf_counter() - began)
    return [known[start] for start in protocol.manifest()], sitting


def _print(rows: list[dict[str, Any]], sitting: Sitting) -> None:
    table = Table("task", "solved", "success in %, 95 % interval (Wilson)")
    for row in rows:
        low, high = row["ci95"]
        rate = f"{100 * row['success']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        table.add_row(row["task"], f"{row['solved']} of {row['episodes']}", rate)
    console.print(table)
    console.print(str(sitting), highlight=False)
