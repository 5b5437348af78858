"""Those who play without a simulator: outcomes are planted, and so is what goes wrong. They need no torch."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from workbench.benchmarks.contract import Outcome, Start
from workbench.errors import UserError
from workbench.shards import Performer, Play

FATE = 7
"""The initial state at which it goes wrong."""


@dataclass(frozen=True)
class Planted(Performer):
    """Solves a share of the episodes, drawn from its seed and the start; each outcome names those played beside it.

    `wrong` is what happens before the episode of initial state FATE ends. Where `once` is given, it happens only as
    long as there is no such file.
    """

    rate: float = 0.5
    seed: int = 0
    wrong: Literal["killed", "refused", "broken"] | None = None
    once: Path | None = None

    @contextmanager
    def opened(self) -> Iterator[Play]:
        yield self.play

    def play(self, starts: Sequence[Start]) -> Iterator[Outcome]:
        beside = " ".join(str(start.initial_state) for start in starts)
        for start in starts:
            if self.wrong and start.initial_state == FATE and not (self.once and self.once.exists()):
                self._go_wrong()
            yield self.outcome(start, beside)

    def outcome(self, start: Start, beside: str = "") -> Outcome:
        solved = np.random.default_rng([self.seed, start.initial_state]).random() < self.rate
        return Outcome(start.task, start.initial_state, start.seed, beside, bool(solved), 1, 0.0, 0.0)

    def _go_wrong(self) -> None:
        if self.once:
            self.once.touch()
        match self.wrong:
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "refused":
                raise UserError("The table is on fire: put it out.")
            case _:
                raise ZeroDivisionError("the table has no legs")
