"""What a person sees of one run: its ledger, its result, where it comes from, and whether it can be reproduced."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from rich.table import Table

from workbench.record import open_record
from workbench.screens.console import console, ledger_table, stage

TOLD = (
    "success",
    "episodes",
    "final_loss",
    "samples",
    "training_seconds",
    "training_seconds_of",
    "samples_per_second",
    "required_flops",
    "executed_flops",
    "waste",
    "mfu",
    "training_peak_bytes",
    "training_bytes_of",
    "gpu_peak_bytes",
    "process_peak_mib",
    "features",
    "playing_seconds",
    "resumed",
    "checkpoints_refused",
    "faults",
    "manifest",
    "data_digest",
    "weights_sha256",
)


def show_run(id: str, root: Path, format: Literal["terminal", "json"]) -> None:
    record = open_record(root, id)
    ledger = record.ledger() if record.error is None else {"rows": []}
    plain = {"id": id, "plan": record.plan.model_dump(mode="json"), "ledger": ledger, "result": record.result}
    if format == "json":
        print(json.dumps(plain, indent=1))
        return
    console.print(f"[bold]{record.plan.kind}[/bold] {id}  {record.folder}")
    if record.error:
        console.print(f"[red]failed[/red]: {record.error}")
        return
    console.print(ledger_table(ledger))
    origin = record.result.get("provenance", {})
    facts = {key: record.result[key] for key in TOLD if record.result.get(key) not in (None, [])}
    facts |= {"command": origin.get("command"), "began": origin.get("began"), "ended": origin.get("ended")}
    for what in (record.result["machine"], origin.get("hardware", {})):
        facts |= {key: value for key, value in what.items() if key != "packages"}
    facts["packages"] = ", ".join(f"{name} {version}" for name, version in record.result["machine"]["packages"].items())
    for key, value in facts.items():
        if value is not None:
            console.print(f"  {key}: {value}", markup=False, highlight=False, soft_wrap=True)


def show_reproduction(id: str, root: Path, format: Literal["terminal", "json"]) -> bool:
    """Run it again and say what is the same; whether all is."""
    from workbench.reproduce import reproduce

    if format == "json":
        found = reproduce(root, id)
        results = [asdict(one) | {"same": one.same} for one in found.results]
        surroundings = [asdict(one) for one in found.surroundings]
        print(json.dumps({"run": id, "same": found.same, "results": results, "surroundings": surroundings}, indent=1))
        return found.same
    with stage("Again", "the same plan, from the same data, beside the record") as progress:
        found = reproduce(root, id, lambda what, done, total: progress(done, total, what))
    table = Table(
        "", "recorded", "again", "", title=f"{id}: {'reproduced, bit for bit' if found.same else 'NOT the same'}"
    )
    for one in found.results:
        table.add_row(one.what, one.recorded, one.again, "same" if one.same else "[red]differs[/red]")
    console.print(table)
    for one in found.surroundings:
        console.print(f"another {one.what}: {one.recorded} then, {one.again} now", markup=False, soft_wrap=True)
    return found.same
