"""What a benchmark promises: a protocol that is data, a manifest that all arms share, and one episode's outcome."""

from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import Field, model_validator

from workbench.errors import unknown
from workbench.spec import Value, digest

BENCHMARKS: dict[str, tuple[str, ...]] = {"tabletop-v1": ("reach", "lift", "put-on", "stack")}
"""Every benchmark and its task families, known without a simulator; a test compares them with the world's."""

Split = Literal["injection", "finetune", "selection", "evaluation"]
SPLIT_SEEDS: dict[Split, int] = {"injection": 101, "finetune": 202, "selection": 303, "evaluation": 404}
"""Initial states are drawn from (split seed, task, index): no state of one split can occur in another."""


@dataclass(frozen=True)
class Start:
    """Where one episode begins: the same three numbers give the same world, bit for bit."""

    task: str
    initial_state: int
    seed: int


class Protocol(Value):
    """How success is measured. Its digest is in every record; figures of different protocols are never compared.

    `initial_states` episodes are played per task; `n_action_steps` actions of each predicted chunk are executed.
    `camera` and `render` are facts of the benchmark that its digest covers, not choices.
    """

    benchmark: str = "tabletop-v1"
    tasks: tuple[str, ...] = Field(default=("reach",), min_length=1)
    initial_states: int = Field(default=20, ge=1)
    n_action_steps: int = Field(default=2, ge=1)
    camera: Literal["front 64x64"] = "front 64x64"
    render: Literal["no-shadows no-multisampling"] = "no-shadows no-multisampling"
    split: Split = "evaluation"

    @model_validator(mode="after")
    def _known(self) -> "Protocol":
        if self.benchmark not in BENCHMARKS:
            raise ValueError(str(unknown("benchmark", self.benchmark, BENCHMARKS)))
        check_tasks(self.tasks, self.benchmark, owner="tasks")
        return self

    def manifest(self) -> tuple[Start, ...]:
        """Every episode to be played, in the order in which outcomes are stored."""
        seed = SPLIT_SEEDS[self.split]
        return tuple(Start(task, i, seed) for task in self.tasks for i in range(self.initial_states))

    def manifest_digest(self) -> str:
        return digest({"protocol": self.model_dump(mode="json"), "starts": [asdict(s) for s in self.manifest()]})


def check_tasks(tasks: tuple[str, ...], benchmark: str, *, owner: str) -> None:
    """Raises ValueError, led by `owner`, where a task is not one of the benchmark's families, or is named twice."""
    for task in tasks:
        if task not in BENCHMARKS[benchmark]:
            raise ValueError(f"{owner}: {unknown('task', task, BENCHMARKS[benchmark])}")
        if tasks.count(task) > 1:
            raise ValueError(f"{owner}: the task {task!r} is named twice")


@dataclass(frozen=True)
class Outcome:
    """One played episode, as it is stored in `episodes.jsonl`.

    `progress` is the share of the task's stages that were reached, 0 … 1; `seconds` is wall-clock time.
    """

    task: str
    initial_state: int
    seed: int
    instruction: str
    success: bool
    steps: int
    progress: float
    seconds: float
