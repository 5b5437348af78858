"""A study as a TOML file: found, put together with the one that it extends, changed from the command line, read."""

import tomllib
from collections.abc import Sequence
from os.path import exists, isfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ablations.bounds import check_bounds, check_within
from ablations.parse import first_error
from ablations.study import Study
from workbench.benchmarks.rules import rules_of
from workbench.errors import UserError, unknown
from workbench.recipes import Data, Folder, actions_of

CONFIGS = Path(__file__).parent.parent / "configs"
NAMED = ("arms", "contrasts")
"""Lists whose members have names: a study adds to those of the one that it extends, and replaces its namesakes."""

WHAT = ("kind", "benchmark")
"""Keys that say what a table is about."""

Tree = dict[str, Any]


def study_path(name: str) -> Path:
    """A study file: a path, or the name of one in `configs/`."""
    path = Path(name)
    if path.suffix == ".toml":
        if not isfile(path):  # False also of a name that no file can have
            raise UserError(f"No study file {name}. Ready-made ones: {', '.join(ready_made())}.")
        return path
    if name not in ready_made():
        raise unknown("study", name, ready_made())
    return CONFIGS / f"{name}.toml"


def ready_made() -> list[str]:
    return sorted(path.stem for path in CONFIGS.glob("*.toml"))


def read_study(name: str, changes: Sequence[str] = (), *, planning: bool = False) -> Study:
    """The study in a TOML file, with `changes` ("path=value", the value as TOML writes it) made to it.

    Where it is only planned, a data set that is not here yet is no mistake; the ids of its runs are not final then.
    Raises UserError that names the first mistake with its path, the choices and the nearest one.
    """
    path = study_path(name)
    content = _content(path, ())
    for change in changes:
        _change(content, change)
    try:
        study = Study.model_validate(content)
        check_bounds(study, path, changes)
        return _pinned(study, planning)
    except ValidationError as error:
        raise UserError(f"{path}: {first_error(error, Study)}") from error


def _content(path: Path, extended: tuple[Path, ...]) -> Tree:
    """What a file says, on top of what the study says that it `extends`: a name, or a path beside the file."""
    try:
        content: Tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # also bytes that are no text, and integers of thousands of digits
        raise UserError(f"{path} is not TOML: {error}") from error
    base = content.pop("extends", None)
    if base is None:
        return content
    beside = path.parent / str(base)
    found = beside if isfile(beside) else study_path(str(base))
    if found == beside:
        check_within(str(found), path)
    if found in (path, *extended):
        raise UserError(f"{path}: extends {base!r}, which extends this study in turn.")
    return _merged(_content(found, (*extended, path)), content)


def _merged(base: Tree, above: Tree) -> Tree:
    """Tables are merged key by key, named members by their names; anything else is replaced, and so is a table of
    another kind (`data`) or benchmark (`protocol`).
    """
    merged = dict(base)
    for key, value in above.items():
        old = merged.get(key)
        if (
            isinstance(old, dict)
            and isinstance(value, dict)
            and all(value.get(k, old.get(k)) == old.get(k) for k in WHAT)
        ):
            merged[key] = _merged(old, value)
        elif key in NAMED and isinstance(old, list) and isinstance(value, list):
            names = [_name(member) for member in value]
            merged[key] = [*(member for member in old if _name(member) not in names), *value]
        else:
            merged[key] = value
    return merged


def _name(member: Any) -> Any:
    """None where it has none, which is told once the study is read."""
    return member.get("name") if isinstance(member, dict) else None


def _change(content: Tree, change: str) -> None:
    """Make one change: `budget.steps=2000`, or `arms.freeze-vision.seeds=[0, 1]` for a named member."""
    path, equals, text = change.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise UserError(f"--set {change!r} is no change: write path=value, such as --set budget.steps=2000.")
    *parents, last = keys
    here: Any = content
    for depth, key in enumerate(parents):
        here = _below(here, key, ".".join(keys[: depth + 1]))
    if not isinstance(here, dict):
        raise UserError(f"--set {change!r}: {'.'.join(parents)} has no fields of its own.")
    here[last] = _value(text.strip())


def _below(here: Any, key: str, path: str) -> Any:
    """What lies under `key` of a table, or of a list of named members; a table that is not there yet is begun."""
    if isinstance(here, list):
        members = {member["name"]: member for member in here if isinstance(member, dict) and "name" in member}
        if here and not members:
            raise UserError(f"--set {path}: what is listed there has no names to choose by; set the whole list.")
        if key not in members:
            raise UserError(f"--set {path}: {unknown('member', key, members)}")
        return members[key]
    if not isinstance(here, dict):
        raise UserError(f"--set {path}: there are no fields below it.")
    return here.setdefault(key, {})


def _value(text: str) -> Any:
    """As TOML writes it; what is no TOML is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _pinned(study: Study, planning: bool) -> Study:
    """The study with the digest of every dataset folder: a run's id covers the content of what it is trained on."""
    injections = {
        name: injection.model_copy(update={"data": with_digest(injection.data, planning=planning)})
        for name, injection in study.injections.items()
    }
    data = with_digest(study.data, planning=planning, state=study.base.proprioception)
    pinned = study.model_copy(update={"data": data, "injections": injections})
    wanted = rules_of(study.protocol.benchmark).action_form
    for name, data in {"data": pinned.data, **{f"injections.{n}.data": i.data for n, i in injections.items()}}.items():
        if actions_of(data) != wanted:
            raise UserError(
                f"{name} has actions of {actions_of(data)}, but {study.protocol.benchmark} takes {wanted}: "
                f"{', '.join(rules_of(study.protocol.benchmark).actions)}. Give other demonstrations, or set "
                f"{name}.gripper to what theirs is."
            )
    return pinned


def with_digest(data: Data, *, planning: bool = False, state: int = 0) -> Data:
    """The same data; of a folder, with the digest of its content, unless it is only planned with and not here.

    `state` is what `resolved` takes.
    """
    if not isinstance(data, Folder) or data.digest or (planning and absent(data)):
        return data
    from workbench.collect import resolved  # the simulator's module: only where a folder has to be read

    return resolved(data, state=state)


def absent(data: Data) -> bool:
    """Whether it is a folder that is not here."""
    return isinstance(data, Folder) and not exists(Path(data.path).expanduser())
