"""What played episodes come to: success of each task with its interval, in our form and in the field's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import binomtest

from workbench.benchmarks.contract import Outcome, Protocol


@dataclass(frozen=True)
class Sitting:
    """What was played without a break: so many episodes in so many seconds, loading included."""

    episodes: int
    seconds: float

    @property
    def per_hour(self) -> float | None:
        """Episodes in an hour at this speed; None where nothing was played."""
        return self.episodes / self.seconds * 3600 if self.episodes else None

    def as_json(self) -> dict[str, Any]:
        rate = None if self.per_hour is None else round(self.per_hour, 1)
        return {"played": self.episodes, "seconds": round(self.seconds, 3), "episodes_per_hour": rate}

    def __str__(self) -> str:
        if self.per_hour is None:
            return "nothing was left to play"
        return f"{self.episodes} episodes in {self.seconds:.0f} s: {self.per_hour:,.0f} episodes an hour"


def success(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Solved episodes, their share and its 95 % interval (Wilson), as fractions."""
    solved = sum(outcome.success for outcome in outcomes)
    interval = binomtest(solved, len(outcomes)).proportion_ci(method="wilson")
    ends = [float(interval.low), float(interval.high)]
    return {"episodes": len(outcomes), "solved": solved, "success": solved / len(outcomes), "ci95": ends}


def task_rows(outcomes: Sequence[Outcome], protocol: Protocol) -> list[dict[str, Any]]:
    """A row a task, in the protocol's order."""
    return [{"task": task, **success([o for o in outcomes if o.task == task])} for task in protocol.tasks]


def eval_info(outcomes: Sequence[Outcome], protocol: Protocol, sitting: Sitting) -> dict[str, Any]:
    """The same as `lerobot-eval` names it, in per cent: `per_task`, `per_group` (the benchmark), `overall`."""

    def in_per_cent(found: dict[str, Any]) -> dict[str, Any]:
        rates = {"pc_success": 100 * found["success"], "pc_success_ci95": [100 * end for end in found["ci95"]]}
        return {"n_episodes": found["episodes"], "n_success": found["solved"], **rates}

    tasks = []
    for number, row in enumerate(task_rows(outcomes, protocol)):
        metrics = {"successes": [o.success for o in outcomes if o.task == row["task"]], **in_per_cent(row)}
        tasks.append({"task_group": protocol.benchmark, "task_id": number, "task": row["task"], "metrics": metrics})
    overall = in_per_cent(success(outcomes))
    return {"per_task": tasks, "per_group": {protocol.benchmark: overall}, "overall": overall | _speed(sitting)}


def _speed(sitting: Sitting) -> dict[str, float]:
    """Only what is known: an evaluation that had nothing left to play has no speed."""
    if not sitting.episodes:
        return {}
    return {"eval_s": round(sitting.seconds, 3), "eval_ep_s": round(sitting.seconds / sitting.episodes, 3)}
