"""Rungs of successive halving (arXiv:1502.07943): how long trainings are on each, how arms are ranked, who goes on.

Only success on the selection episodes decides: they are played by no figure that is reported.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from workbench.benchmarks.contract import Protocol
from workbench.benchmarks.rules import rules_of
from workbench.plan import Budget

FEWEST = 4
"""Arms that compete; fewer are run in full, all of them: two halvings of three would leave what chance liked."""

SEED = 9999
"""The training seed of every rung, and of nothing that is reported: luck that chose an arm does not speak for it."""


@dataclass(frozen=True)
class Rung:
    """The share of its own steps that an arm makes here."""

    name: str
    share: Fraction

    def budget(self, whole: Budget) -> Budget:
        """A training of its own: warm-up and schedule are shortened with the steps, one of them at least."""
        steps = max(1, int(whole.steps * self.share))
        return whole.model_copy(update={"steps": steps, "warmup_steps": int(whole.warmup_steps * self.share)})


RUNGS = (Rung("a quarter", Fraction(1, 4)), Rung("half", Fraction(1, 2)))
"""After each of them half of the arms are dropped; a quarter of them, rounded up twice, are run in full."""


@dataclass(frozen=True)
class Score:
    """How a training of an arm did on a rung: mean success and progress over the selection episodes.

    `steps` are those that it made. `error` says why it broke; it then has no success.
    """

    arm: str
    steps: int
    success: float = 0.0
    progress: float = 0.0
    error: str = ""

    @property
    def place(self) -> tuple[bool, float, float]:
        """Larger is better: success, then how far episodes came; what broke is last."""
        return not self.error, self.success, self.progress


def by_arm(scores: Iterable[Score]) -> tuple[Score, ...]:
    """One score an arm, of the learning rate that did best where it tries several; in their order."""
    best: dict[str, Score] = {}
    for score in scores:
        if score.arm not in best or score.place > best[score.arm].place:
            best[score.arm] = score
    return tuple(best.values())


def better_half(scores: Sequence[Score]) -> tuple[str, ...]:
    """Names of the arms that go on, in the order of `scores`: half of them, rounded up, and none that broke.

    Of arms that are alike in success and progress the first goes on.
    """
    whole = [score for score in scores if not score.error]
    ranked = sorted(whole, key=lambda score: score.place, reverse=True)  # keeps the order of what is alike
    left = {score.arm for score in ranked[: half(len(scores))]}
    return tuple(score.arm for score in scores if score.arm in left)


def half(arms: int) -> int:
    return math.ceil(arms / 2)


def check_screen(protocol: Protocol, seeds: Iterable[int]) -> None:
    """Raises ValueError where arms cannot be screened: no selection episodes, or a reported seed that is the rungs'."""
    if "selection" not in rules_of(protocol.benchmark).splits:
        raise ValueError(f"screen is true, but {protocol.benchmark} has no selection episodes to choose arms on")
    if SEED in seeds:
        raise ValueError(f"screen is true, and the seed {SEED} is that of its rungs: report another one")
