"""Sinks: where finished runs are shown besides. `log.jsonl` and `result.json` are the truth; a sink copies them.

Nothing of this is in a training loop: a sink is given whole runs, by the process that asked for them.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.plan import Inject
from workbench.record import Record

STEP = "train/step"


@dataclass(frozen=True)
class Logged:
    """A finished run, and what it is called in its study: the arm, and what tells its runs apart."""

    record: Record
    study: str
    arm: str
    name: str

    def config(self) -> Mapping[str, Any]:
        """Its plan."""
        return self.record.plan.model_dump(mode="json")

    def rows(self) -> Iterator[tuple[int, dict[str, float]]]:
        """The rows of its log, each with the number of its step (`train/loss`, `train/lr`, `train/grad_norm`, …), and
        behind the last one its `outcome`, if it has any."""
        log = self.record.log()
        for row in log:
            yield int(row[STEP]), {key: float(value) for key, value in row.items() if key != STEP}
        if outcome := self.outcome():
            yield behind(log), outcome

    def outcome(self) -> dict[str, float]:
        """How its policy played: `eval/success`, of each task too (`eval/success/<task>`), and `eval/episodes`."""
        if self.record.error is not None or isinstance(self.record.plan, Inject):
            return {}
        tasks: dict[str, list[bool]] = {}
        for played in self.record.outcomes():
            tasks.setdefault(played.task, []).append(played.success)
        return {
            "eval/success": float(self.record.result["success"]),
            **{f"eval/success/{task}": float(np.mean(won)) for task, won in tasks.items()},
            "eval/episodes": float(sum(map(len, tasks.values()))),
        }


def behind(log: Sequence[Mapping[str, Any]]) -> int:
    """The number of the step that would come after the last one of the log."""
    return int(log[-1][STEP]) + 1 if log else 0


class Sink(ABC):
    """One kind of dashboard."""

    @abstractmethod
    def write(self, run: Logged) -> None:
        """All of a run. Raises UserError where it cannot be had; the run itself is recorded all the same."""

    @abstractmethod
    def where(self) -> str:
        """How a person sees what was written: a command, or an address."""
