"""What a person sees of the encoders that can be named: the list, one card, and one that leaves."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from encoders.artefact import Form
from encoders.recommendation import recommendation
from encoders.registry import FORMS, card, parameters
from encoders.rows import ROWS
from encoders.table import size
from workbench.errors import encoder_errors
from workbench.screens.console import console

Format = Literal["terminal", "json"]


def list_encoders(format: Format) -> None:
    """Every row of the registry, and the forms of names beyond them."""
    rows: list[dict[str, Any]] = [
        {
            "name": row.name,
            "tokens": row.tokens,
            "width": row.dim,
            "parameters": row.parameters,
            "side": row.side,
            "licence": card(row.name).licence,
            "source": row.source,
        }
        for row in ROWS
    ]
    if format == "json":
        print(json.dumps({"encoders": rows, "forms": FORMS}, indent=1))
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("name, source", overflow="fold", min_width=24)
    for name in ("tokens", "width", "parameters", "side"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("licence", overflow="fold", min_width=12)
    for row in rows:
        named = Text.assemble((row["name"], "bold"), "\n", (row["source"], "dim"))
        figures = (str(row["tokens"]), str(row["width"]), size(row["parameters"]), str(row["side"]))
        table.add_row(named, *figures, row["licence"])
    console.print(table)
    console.print(f"Beyond these rows a name may be {', '.join(FORMS)} (A and B: any of them).", markup=False)


def show_encoder(name: str, format: Format) -> None:
    """The whole card of any name, how many parameters are read, and the readout that is recommended."""
    with encoder_errors():
        facts = card(name).model_dump(mode="json")
        facts |= {"parameters": parameters(name), "recommended_readout": recommendation(name)}
    if format == "json":
        print(json.dumps(facts, indent=1))
        return
    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        table.add_row(key.replace("_", " "), Text(_words(value)))
    console.print(table)


def export_encoder(id: str, folder: Path, root: Path, *, to: Form | None, format: Format) -> None:
    """Write the encoder of a finished run, and say where it lies, what is in it and how a study names it."""
    from workbench.publish_encoder import save_encoder
    from workbench.record import open_record

    written = save_encoder(open_record(root, id), folder, root, to=to)
    if format == "json":
        print(json.dumps({"run": id, "folder": str(folder)} | asdict(written), indent=1))
        return
    said = [f"The encoder {written.encoder} lies in {folder} ({', '.join(written.files)})."]
    if written.module:
        said.append(f"A study takes it as: module = {json.dumps(written.module)}")
    console.print("\n".join(said), markup=False, soft_wrap=True)


def _words(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(value)
