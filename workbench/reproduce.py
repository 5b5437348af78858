"""Carries a recorded run out again, beside it, and compares what both gave, bit for bit."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.benchmarks.contract import Outcome
from workbench.collect import collect
from workbench.errors import UserError
from workbench.execute import Report, execute
from workbench.plan import Finetune, Inject
from workbench.provenance import machine
from workbench.recipes import Expert
from workbench.record import FEATURES, Record, collected_folder, is_done, open_record

HASHED = 16
"""Hexadecimal digits that are told of a hash."""


@dataclass(frozen=True)
class Compared:
    """One thing that both runs have: as `recorded`, and `again`."""

    what: str
    recorded: str
    again: str

    @property
    def same(self) -> bool:
        return self.recorded == self.again


@dataclass(frozen=True)
class Reproduction:
    """What was compared, and what differs of that on which results may depend: code, versions, threads."""

    results: tuple[Compared, ...]
    surroundings: tuple[Compared, ...]

    @property
    def same(self) -> bool:
        return all(one.same for one in self.results)


def reproduce(root: Path, id: str, report: Report = lambda stage, done, total: None) -> Reproduction:
    """Run the plan of the finished run `id` again, in a folder of its own that is removed afterwards.

    The data and the runs that it starts from are those in `root`; demonstrations that are gone are collected again.
    Raises UserError where there is no such run, or where it failed.
    """
    record = open_record(root, id)
    if record.error:
        raise UserError(f"The run {id} failed ({record.error}): there is no result that could be reproduced.")
    with _beside(root, id) as other:
        if isinstance(record.plan, Finetune | Inject) and isinstance(record.plan.data, Expert):
            recipe = record.plan.data
            if not is_done(other, recipe):
                collect(recipe, collected_folder(other, recipe), progress=lambda d, n: report("collecting", d, n))
        execute(record.plan, other, report)
        again = open_record(other, id)
        before, now = record.result["machine"], again.result["machine"]
        surroundings = [Compared(key, json.dumps(before.get(key)), json.dumps(now[key])) for key in machine()]
        return Reproduction(tuple(_compared(record, again)), tuple(one for one in surroundings if not one.same))


@contextmanager
def _beside(root: Path, id: str) -> Iterator[Path]:
    """A new root that shows all that is in `root` but the run `id` and features: these are computed again."""
    with tempfile.TemporaryDirectory(prefix="reproduce-", dir=root) as name:
        other = Path(name)
        (other / "data").mkdir()
        for path in (*root.iterdir(), *(root / "data").glob("*")):
            shown = other / path.relative_to(root)
            if path.is_dir() and path.name not in (id, "data", FEATURES, other.name):
                shown.symlink_to(path.resolve())
        yield other


def _compared(record: Record, again: Record) -> Iterator[Compared]:
    for key in ("data_digest", "weights_sha256", "manifest"):
        if key in record.result:
            yield Compared(key, record.result[key][:HASHED], str(again.result.get(key))[:HASHED])
    losses = [[row["train/loss"] for row in one.log()] for one in (record, again)]
    if any(losses):
        yield Compared("losses", *map(_digest, losses))
    if record.result["episodes"]:
        episodes = [[_lasting(outcome) for outcome in one.outcomes()] for one in (record, again)]
        yield Compared("episodes", *map(_digest, episodes))
        yield Compared("success", *(f"{100 * one.result['success']:.2f} %" for one in (record, again)))


def _lasting(outcome: Outcome) -> dict[str, Any]:
    return {name: value for name, value in outcome.as_json().items() if name != "seconds"}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:HASHED]
