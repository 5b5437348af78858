"""Which files of this machine a study may name: a study is passed on from hand to hand, and is not to be trusted."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ablations.stages import spec_of
from ablations.study import Study
from workbench.errors import UserError
from workbench.fingerprint import local_names
from workbench.objectives.facts import terms
from workbench.recipes import Folder

ROOTS = "WORKBENCH_ROOTS"
"""The environment variable with further folders that studies may read from, as PATH is written."""


def check_bounds(study: Study, file: Path, changes: Sequence[str]) -> None:
    """Raises UserError for a path that leads out of the study's folder and the current one, links followed.

    What `changes` name was typed by the user, and so asked for.
    """
    for name in named_files(study):
        typed = re.compile(rf"(?<![\w/.~-]){re.escape(name)}(?![\w/.~-])")
        if not any(typed.search(change) for change in changes):
            check_within(name, file)


def check_within(name: str, file: Path) -> None:
    """Raises UserError where `name` lies neither below the folder of the study `file`, nor below the current one, nor
    below those of WORKBENCH_ROOTS."""
    further = [Path(one).expanduser() for one in os.environ.get(ROOTS, "").split(os.pathsep) if one]
    try:
        found = Path(name).expanduser().resolve()
    except (OSError, ValueError, RuntimeError):  # no file can have this name, and whoever reads it says so
        return
    if not any(found.is_relative_to(root.resolve()) for root in (file.parent, Path(), *further)):
        raise UserError(
            f"{file} names {name}, which lies outside its own folder and the current one. If you mean it to be read, "
            f"set {ROOTS}={found.parent}, or give it with --set."
        )


def named_files(study: Study) -> Iterator[str]:
    """What a study names that is, or could be, a file or folder of this machine."""
    for data in (study.data, *(injection.data for injection in study.injections.values())):
        if isinstance(data, Folder):
            yield data.path
    owners = {**{f"arm {arm.name!r}": arm for arm in study.arms}, **study.injections}
    for spec in (study.base, *(spec_of(stage, study.base, owner) for owner, stage in owners.items())):
        yield from local_names(spec)
    for injection in study.injections.values():
        yield from (term.path for term in terms(injection.objective) if term.path)
