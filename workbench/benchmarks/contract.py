"""What a benchmark promises: a protocol that is data, a manifest that all arms share, and one episode's outcome."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import Field, model_validator

from workbench.benchmarks.rules import Rules, Split, benchmarks, rules_of
from workbench.errors import unknown
from workbench.spec import Value, digest, later

SPLIT_SEEDS: dict[Split, int] = {"injection": 101, "finetune": 202, "selection": 303, "evaluation": 404}
"""Initial states are drawn from (split seed, task, index): no state of one split can occur in another."""
TABLETOP, TABLETOP_CAMERA, TABLETOP_RENDER = "tabletop-v1", "front 64x64", "no-shadows no-multisampling"
TABLETOP_RULES = "b4bbe8408fd1"
"""Digest of the rules of the first benchmark, whose protocols did not hold it."""


@dataclass(frozen=True)
class Start:
    """Where one episode begins: the same three numbers give the same world, bit for bit."""

    task: str
    initial_state: int
    seed: int


class Protocol(Value):
    """How success is measured. Its digest is in every record; figures of different protocols are never compared.

    `initial_states` episodes are played per task, or as many as it has; `n_action_steps` actions of each predicted
    chunk are executed. What is not given is as the benchmark's rules have it: all tasks, its number of initial states,
    its first camera and render mode. After `horizon` control steps an episode is given up, or after as many as the
    rules have, if they have fewer. `rules` is the digest of the rules themselves.
    """

    benchmark: str = TABLETOP
    tasks: tuple[str, ...] = Field(min_length=1)
    initial_states: int = Field(ge=1, le=10**6)
    n_action_steps: int = Field(ge=1)
    camera: str
    render: str
    split: Split = "evaluation"
    horizon: int | None = later(None, ge=1)
    rules: str = later(TABLETOP_RULES)

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: Any) -> Any:
        def own(rules: Rules) -> dict[str, Any]:
            return {"initial_states": rules.initial_states, "n_action_steps": rules.n_action_steps}

        rules = rules_given(given)
        return given if rules is None else {**own(rules), "rules": rules.digest(), **completed(given, rules)}

    @model_validator(mode="after")
    def _known(self) -> "Protocol":
        rules = check_played(self.benchmark, self.tasks, self.camera, self.render)
        if self.split not in rules.splits:
            raise ValueError(f"split: {unknown(f'split of {self.benchmark}', self.split, rules.splits)}")
        if rules.splits == ("evaluation",) and self.initial_states > rules.initial_states:
            raise ValueError(
                f"initial_states: {self.benchmark} has {rules.initial_states} for each task, not {self.initial_states}"
            )
        return self

    def manifest(self) -> tuple[Start, ...]:
        """Every episode to be played, in the order in which outcomes are stored."""
        seed, wanted, states = SPLIT_SEEDS[self.split], self.initial_states, rules_of(self.benchmark).states
        return tuple(Start(task, i, seed) for task in self.tasks for i in range(min(wanted, states.get(task, wanted))))

    def manifest_digest(self) -> str:
        return digest({"protocol": self.model_dump(mode="json"), "starts": [asdict(s) for s in self.manifest()]})


def rules_given(given: Any) -> Rules | None:
    """The rules of the benchmark that a mapping names, the tabletop's where it names none; None for no mapping.

    Raises ValueError for an unknown name.
    """
    if not isinstance(given, Mapping):
        return None
    name = given.get("benchmark", TABLETOP)
    if name not in benchmarks():
        raise ValueError(f"benchmark: {unknown('benchmark', str(name), benchmarks())}")
    return rules_of(name)


def completed(given: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """What is given of tasks, camera and render mode, and for the rest what the rules say."""
    return {"tasks": rules.tasks, "camera": rules.cameras[0], "render": rules.renders[0], **given}


def check_played(benchmark: str, tasks: tuple[str, ...], camera: str, render: str) -> Rules:
    """The benchmark's rules. Raises ValueError for a task, camera or render mode that it has not, or a task twice."""
    rules = rules_of(benchmark)
    for task in tasks:
        if task not in rules.tasks:
            raise ValueError(f"tasks: {unknown('task', task, rules.tasks)}")
        if tasks.count(task) > 1:
            raise ValueError(f"tasks: the task {task!r} is named twice")
    if camera not in rules.cameras:
        raise ValueError(f"camera: {unknown(f'camera of {benchmark}', camera, rules.cameras)}")
    if render not in rules.renders:
        raise ValueError(f"render: {unknown(f'render mode of {benchmark}', render, rules.renders)}")
    return rules


@dataclass(frozen=True)
class Outcome:
    """One played episode, as it is stored in `episodes.jsonl`.

    `progress` is the share of the task's stages that were reached, 0 … 1; `seconds` is wall-clock time. `fault` says
    why the simulator could not play it: such an episode counts as failed.
    """

    task: str
    initial_state: int
    seed: int
    instruction: str
    success: bool
    steps: int
    progress: float
    seconds: float
    fault: str = ""

    def as_json(self) -> dict[str, Any]:
        """All fields; no `fault` where there was none."""
        return {name: value for name, value in asdict(self).items() if name != "fault" or value}
