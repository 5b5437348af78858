"""A run on disk: `ROOT/<id>/`, finished when `result.json` exists, which is written last and by rename."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from workbench.benchmarks.contract import Outcome
from workbench.errors import UserError
from workbench.plan import Inject, Job, Plan, job_id, run_id
from workbench.recipes import Expert

EPISODES = "episodes.jsonl"
LEDGER = "ledger.json"
LOG = "log.jsonl"
PLAN = "plan.json"
CHECKPOINTS = "checkpoints"
FEATURES = "features"
NO_CACHE = "WORKBENCH_NO_CACHE"
"""The environment variable that is set, and not empty, in the processes of a study that keeps no features."""
RECORDING = "recording"
"""The stage that a run tells right before it writes its result: who has lost the right to it is stopped there."""
_PLANS: TypeAdapter[Plan] = TypeAdapter(Plan)


@dataclass(frozen=True)
class Record:
    """A finished run. `error` is set where training met NaN: it is recorded as failed and never counted as 0 %."""

    id: str
    folder: Path
    plan: Plan
    result: dict[str, Any]

    @property
    def error(self) -> str | None:
        return self.result.get("error")

    def outcomes(self) -> list[Outcome]:
        """The played episodes in manifest order. A file that is missing, truncated or changed is refused."""
        assert not isinstance(self.plan, Inject), "an injection plays no episodes"
        path = _as_recorded(self.folder / EPISODES, self.result["episodes_sha256"])
        return [Outcome(**json.loads(line)) for line in path.read_text().splitlines()]

    def ledger(self) -> dict[str, Any]:
        """A file that is missing, truncated or changed is refused."""
        return read_json(self._sealed(LEDGER))

    def log(self) -> list[dict[str, Any]]:
        """A row for each training step; none where nothing was trained. A changed file is refused."""
        if not (self.folder / LOG).is_file() and LOG not in self.result.get("sealed", {}):
            return []
        return list(read_log(self._sealed(LOG).parent))

    def _sealed(self, name: str) -> Path:
        """A file of the record; records from before there were seals have nothing to be compared with."""
        sealed = self.result.get("sealed", {})
        return _as_recorded(self.folder / name, sealed[name]) if name in sealed else self.folder / name


def moved_bits(row: dict[str, Any]) -> str:
    """What happened to the bits of a ledger's row, in a few characters."""
    return "unmoved" if row["before"] == row["after"] else f"{row['before'][:4]} → {row['after'][:4]}"


def _as_recorded(path: Path, sha256: str) -> Path:
    """The same path. Raises UserError where the file is missing or its hash is another one."""
    if not path.is_file() or file_hash(path) != sha256:
        raise UserError(
            f"{path} is missing, truncated or was changed: its SHA-256 is not the recorded one. "
            f"Delete {path.parent} and run again."
        )
    return path


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing. Delete {path.parent} and run again.") from error
    except ValueError as error:
        raise UserError(f"{path} is truncated or not JSON ({error}). Delete {path.parent} and run again.") from error


def write_json(path: Path, value: Any) -> None:
    """Written aside, flushed to the disk, renamed: the file is whole or not there."""
    aside = path.with_name(path.name + ".tmp")
    with aside.open("w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def find(root: Path, plan: Plan) -> Record | None:
    """The finished run of `plan` in `root`, or None. A record that is not the plan's is refused."""
    folder = root / run_id(plan)
    if not (folder / "result.json").is_file():
        return None
    record = open_record(root, folder.name)
    if run_id(record.plan) != folder.name:
        raise UserError(
            f"{folder / PLAN} belongs to another run ({run_id(record.plan)}). Delete {folder} and run again."
        )
    return record


def collected_folder(root: Path, recipe: Expert) -> Path:
    """Where the dataset of `recipe` lies, or will lie: named by the recipe's digest."""
    return root / "data" / job_id(recipe)


def is_done(root: Path, job: Job) -> bool:
    """Whether a run is recorded, or a dataset collected. A record that is not the plan's is refused."""
    return collected_folder(root, job).exists() if isinstance(job, Expert) else find(root, job) is not None


def open_record(root: Path, id: str) -> Record:
    folder = root / id
    if not (folder / "result.json").is_file():
        known = sorted(path.parent.name for path in root.glob("*/result.json"))
        raise UserError(f"No finished run {id!r} in {root}. Finished: {', '.join(known) or 'none'}.")
    try:
        plan = _PLANS.validate_python(read_json(folder / PLAN))
    except ValidationError as error:
        raise UserError(
            f"{folder / PLAN} is not a plan ({error.error_count()} errors). Delete {folder} and run again."
        ) from error
    result = read_json(folder / "result.json")
    if "seal" in result and result["seal"] != _seal(result):
        raise UserError(
            f"{folder / 'result.json'} was changed: its seal is not that of its content. Delete {folder} and run again."
        )
    if PLAN in result.get("sealed", {}):
        _as_recorded(folder / PLAN, result["sealed"][PLAN])
    return Record(id, folder, plan, result)


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Finish the run in `folder`: `result.json`, with the hashes of what goes with it and a seal of its own content."""
    sealed = {name: file_hash(folder / name) for name in (PLAN, LEDGER, LOG) if (folder / name).is_file()}
    whole = dict(result) | {"sealed": sealed}
    write_json(folder / "result.json", whole | {"seal": _seal(whole)})


def _seal(result: Mapping[str, Any]) -> str:
    content = {key: value for key, value in result.items() if key != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def begin(root: Path, plan: Plan) -> Path:
    """The folder for a run that starts, or goes on: of an interrupted one its checkpoints and its log are left."""
    folder = root / run_id(plan)
    folder.mkdir(parents=True, exist_ok=True)
    goes_on = (folder / CHECKPOINTS).is_dir()
    for path in folder.iterdir():
        if goes_on and path.name in (CHECKPOINTS, LOG):
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_json(folder / PLAN, plan.model_dump(mode="json"))
    return folder


def write_episodes(folder: Path, outcomes: Iterable[Outcome]) -> str:
    """One line an episode; returns the file's SHA-256."""
    (folder / EPISODES).write_text("".join(json.dumps(outcome.as_json()) + "\n" for outcome in outcomes))
    return file_hash(folder / EPISODES)


def read_log(folder: Path) -> Iterator[dict[str, Any]]:
    for line in (folder / LOG).read_text().splitlines():
        yield json.loads(line)
