"""What a person sees of a data set: what is in it, its statistics, what is wrong with it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from workbench.data.contact_sheet import Seen, write_sheet
from workbench.data.dataset import Dataset
from workbench.data.description import describe
from workbench.data.figures import contents, statistics
from workbench.data.formats import open_any
from workbench.data.problems import (
    KINDS,
    Problem,
    described_problems,
    number_problems,
    picture_problems,
    sampled,
)
from workbench.data.statistics import Normalisation, Scaling
from workbench.data.survey import COLUMNS, Survey, survey
from workbench.errors import UserError, unknown
from workbench.screens.console import console, stage, told_aside

Format = Literal["terminal", "json"]

BARS = "▁▂▃▄▅▆▇█"
TASKS_SHOWN = 12
SHEET = 24
"""Pictures on a contact sheet."""


@dataclass(frozen=True)
class Look:
    """How closely `check` looks."""

    description: str | None
    pictures: int
    """Episodes whose pictures are looked at."""
    allow: tuple[str, ...]
    """Kinds of problems that do not count."""


def inspect_data(path: Path, camera: str | None, sheet: Path | None, format: Format) -> None:
    """Print what is in a data set, and write its contact sheet."""
    with told_aside(format == "json"):
        numbers = _numbers(open_any(path, camera))
        if sheet:
            _sheet(numbers, sheet)
    told, problems = contents(numbers), number_problems(numbers)
    if format == "json":
        print(json.dumps(told | {"problems": [asdict(problem) for problem in problems]}, indent=1))
        return
    _show_contents(told)
    for column in COLUMNS:
        console.print(_values(column, told["columns"][column]))
    _show_problems(problems)
    if sheet:
        console.print(f"The first pictures of {len(_sample(numbers, SHEET))} episodes: {sheet}", soft_wrap=True)


def show_statistics(path: Path, camera: str | None, clip: float | None, format: Format) -> None:
    """Print computed statistics, how far the stored ones lie from them, and each scaling's round-trip error."""
    Scaling(Normalisation.IDENTITY, clip)  # refuses a clip that is none before anything is read
    with told_aside(format == "json"):
        numbers = _numbers(open_any(path, camera))
    columns = {column: statistics(numbers, column, clip) for column in COLUMNS}
    if format == "json":
        print(json.dumps({"path": str(path), "clip": clip, "columns": columns}, indent=1))
        return
    for column, found in columns.items():
        figures = {name: values for name, values in found["computed"].items() if name != "count"}
        console.print(_figures(f"{column}, {found['computed']['count'][0]} frames", found["names"], figures))
        worst = ", ".join(f"{name} {100 * max(values):.2g} %" for name, values in found["difference"].items())
        console.print(f"The stored ones differ by at most (share of a dimension's range): {worst}.\n", style="dim")
        title = "Round-trip error" + (f", clipped at ±{clip:g}" if clip else "")
        console.print(_figures(title, found["names"], found["round_trip_error"]))
        for why in found["refused"].values():
            console.print(why, style="dim", highlight=False)


def check_data(path: Path, camera: str | None, look: Look, format: Format) -> bool:
    """Print what is wrong, and tell whether nothing is, the allowed kinds aside."""
    for kind in look.allow:
        if kind not in KINDS:
            raise unknown("kind of problem", kind, KINDS)
    with told_aside(format == "json"):
        problems, episodes = _problems(path, camera, look)
    sound = all(problem.kind in look.allow for problem in problems)
    if format == "json":
        told = {"path": str(path), "sound": sound, "pictures_of": list(episodes), "allowed": list(look.allow)}
        print(json.dumps(told | {"problems": [asdict(problem) for problem in problems]}, indent=1))
        return sound
    _show_problems(problems, look.allow)
    if episodes:
        console.print(f"Pictures of {len(episodes)} episodes were looked at.", style="dim", highlight=False)
    return sound


def _problems(path: Path, camera: str | None, look: Look) -> tuple[Sequence[Problem], Sequence[int]]:
    """What is wrong, and the episodes whose pictures were looked at."""
    description = describe(look.description) if look.description else None
    if not path.exists():
        raise UserError(f"There is nothing at {path}. Give the folder or file of a data set.")
    try:
        dataset = open_any(path, camera)
        numbers = _numbers(dataset)
    except UserError as error:
        # A data set that does not open is what `check` is asked about: a problem like any other.
        return [Problem("unreadable", str(error))], ()
    problems = [*number_problems(numbers)]
    if description:
        problems += described_problems(numbers, description)
    episodes = _sample(numbers, look.pictures)
    with stage("Pictures", "black ones, and ones that stand still") as tell:
        for done, found in enumerate(picture_problems(dataset, episodes)):
            problems += found
            tell(done + 1, len(episodes))
    return problems, episodes


def _numbers(dataset: Dataset) -> Survey:
    with stage("Numbers", "state and action of every episode") as tell:
        return survey(dataset, tell)


def _sample(numbers: Survey, wanted: int) -> list[int]:
    """At most `wanted` of the readable episodes."""
    readable = sorted(numbers.lengths)
    return [readable[place] for place in sampled(len(readable), wanted)]


def _sheet(numbers: Survey, path: Path) -> None:
    dataset, episodes = numbers.dataset, _sample(numbers, SHEET)
    with stage("Contact sheet", "the first picture of episodes") as tell:
        seen = []
        for done, index in enumerate(episodes):
            seen.append(Seen(index, dataset.episodes[index].instruction, dataset.episode(index).image[0]))
            tell(done + 1, len(episodes))
    write_sheet(path, seen)


def _show_contents(told: dict[str, Any]) -> None:
    lengths, rate = told["lengths"], told["fps"]
    facts = {
        "format": told["format"],
        "episodes": f"{told['episodes']:,}",
        "frames": f"{told['frames']:,}",
        "an episode": f"{lengths['min']} to {lengths['max']} frames, median {lengths['median']:g}",
        "fps": "not stored" if rate is None else f"{rate:g}",
        "cameras": ", ".join(f"{name} (read)" if name == told["camera"] else name for name in told["cameras"]),
        "digest": told["digest"][:16],
    }
    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        table.add_row(key, Text(value))
    console.print(table)
    tasks = _table("Tasks", ("instruction", "episodes"))
    for instruction, episodes in list(told["tasks"].items())[:TASKS_SHOWN]:
        tasks.add_row(Text(instruction), str(episodes))
    console.print(tasks)
    if len(told["tasks"]) > TASKS_SHOWN:
        console.print(f"and {len(told['tasks']) - TASKS_SHOWN} more", style="dim", highlight=False)


def _values(column: str, dimensions: Sequence[dict[str, Any]]) -> Table:
    table = _table(column, ("dimension", "min", "q01", "q99", "max", "from min to max"))
    for one in dimensions:
        figures = (_figure(one[name]) for name in ("min", "q01", "q99", "max"))
        table.add_row(Text(one["name"]), *figures, _bars(one["histogram"]))
    return table


def _bars(counts: Sequence[int]) -> str:
    """A block for each bin, as high as its share of the fullest; an empty bin is a space."""
    return "".join(BARS[round((len(BARS) - 1) * count / max(counts))] if count else " " for count in counts)


def _figures(title: str, names: Iterable[str], figures: dict[str, list[float]]) -> Table:
    table = _table(title, ("dimension", *figures))
    for place, name in enumerate(names):
        table.add_row(Text(name), *(_figure(values[place]) for values in figures.values()))
    return table


def _figure(value: float) -> str:
    return f"{value:.4g}"


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=bool(number))
    return table


def _show_problems(problems: Sequence[Problem], allow: Sequence[str] = ()) -> None:
    for problem in problems:
        console.print(Text.assemble((problem.kind, "dim" if problem.kind in allow else "red"), f": {problem.sentence}"))
    allowed = sum(problem.kind in allow for problem in problems)
    found = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found" if problems else "No problems found"
    console.print(found + (f", {allowed} of them allowed." if allowed else "."), highlight=False)
