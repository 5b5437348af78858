"""LIBERO's tasks as its package's files define them: instructions, goals, initial states. No simulator is imported."""

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders.checkpoint import BROKEN
from workbench.benchmarks.libero.files import package_folder
from workbench.benchmarks.rules import rules_of
from workbench.data.libero import task_of
from workbench.errors import UserError

# K initial states of a task  S numbers of a simulator's state: time, positions, velocities


@dataclass(frozen=True)
class Definition:
    """What a BDDL file says: the scene's problem class, its things, how they lie at first, and the goal's predicates.

    `names` are all that a predicate may speak of: objects, fixtures, and regions as `TARGET_REGION`.
    """

    path: Path
    problem: str
    names: frozenset[str]
    initial: frozenset[tuple[str, ...]]
    goal: tuple[tuple[str, ...], ...]

    @property
    def meant(self) -> frozenset[str]:
        """What the goal's predicates speak of."""
        return frozenset(name for predicate in self.goal for name in predicate[1:])


def suite(benchmark: str) -> str:
    """LIBERO's own name of a benchmark: `libero-goal` is libero_goal there."""
    return benchmark.replace("-", "_")


def instruction(task: str) -> str:
    """The sentence of a task: LIBERO makes it of the task's name (libero/libero/benchmark/__init__.py)."""
    words = task_of(Path(f"{task}_demo.hdf5"))
    assert words is not None, task
    return words


@cache
def definition(benchmark: str, task: str) -> Definition:
    """The task's BDDL file, read."""
    path = package_folder() / "bddl_files" / suite(benchmark) / f"{task}.bddl"
    parts = _parsed(path)
    sections = {part[0]: part[1:] for part in parts[1:] if isinstance(part, list)}
    regions = {f"{dict(facts)[':target']}_{name}" for name, *facts in sections[":regions"]}
    (goal,) = sections[":goal"]
    return Definition(
        path=path,
        problem=parts[1][1],
        names=frozenset(regions | set(sections[":objects"]) | set(sections[":fixtures"])),
        initial=frozenset(tuple(predicate) for predicate in sections[":init"]),
        goal=tuple(tuple(predicate) for predicate in (goal[1:] if goal[0].lower() == "and" else [goal])),
    )


def misnaming(benchmark: str, task: str) -> tuple[str, ...]:
    """The suite's other tasks that could be asked for in this task's scene, and are not done by doing it.

    What they speak of is there: the scene is the same, or, where the tasks' names name none (libero-object), has these
    things. No predicate of their goals is one of this goal, and not all of them hold at first.
    """
    own = definition(benchmark, task)

    def other_things(other: Definition) -> bool:
        goal = frozenset(other.goal)
        return other.meant <= own.names and not goal & frozenset(own.goal) and not goal <= own.initial

    others = [other for other in rules_of(benchmark).tasks if scene(other) == scene(task)]
    return tuple(other for other in others if other_things(definition(benchmark, other)))


def scene(task: str) -> str:
    """`KITCHEN_SCENE3` of a task that names its scene, or nothing."""
    found = re.match(r"[A-Z_]+_SCENE\d+", task)
    return found[0] if found else ""


@cache
def initial_states(benchmark: str, task: str) -> np.ndarray:
    """The task's fixed initial states, float64 `[K, S]`.

    The files are pickles written by torch. They are read without running what a pickle may call: only the pieces of a
    NumPy array are let through. Raises UserError for any other content.
    """
    path = package_folder() / "init_files" / suite(benchmark) / f"{task}.pruned_init"
    rebuild = np.empty(0).__reduce__()[0]
    allowed: list[Any] = [(rebuild, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype, type(np.dtype("f8"))]
    try:
        with torch.serialization.safe_globals([*allowed, codecs.encode]):
            states = np.asarray(torch.load(path, map_location="cpu", weights_only=True))
    except (*BROKEN, OSError) as error:
        raise UserError(f"The initial states {path} cannot be read ({type(error).__name__}).") from error
    if states.ndim != 2 or states.dtype != np.float64:
        raise UserError(f"The initial states {path} are {states.dtype} {states.shape}, not a matrix of float64.")
    return states


def _parsed(path: Path) -> list[Any]:
    text = re.sub(r";.*", "", path.read_text(encoding="utf-8"))
    return next(_lists(iter(re.findall(r"[()]|[^\s()]+", text))))


def _lists(words: Iterator[str]) -> Iterator[Any]:
    for word in words:
        if word == ")":
            return
        yield list(_lists(words)) if word == "(" else word


def chosen(others: Sequence[str], number: int) -> str:
    """One of them, by an initial state's number."""
    return others[number % len(others)]
