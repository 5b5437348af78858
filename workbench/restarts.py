"""Episodes that a simulator broke: it is started again, and what it breaks twice is marked, not waited for."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

import numpy as np

from workbench.benchmarks.contract import Outcome, Protocol, Start
from workbench.benchmarks.env import BenchmarkEnv
from workbench.benchmarks.registry import open_env
from workbench.benchmarks.rules import rules_of
from workbench.errors import SimulatorFailed
from workbench.evaluate import Played, Player, check_chunk, check_told, play_rounds
from workbench.plan import Inputs

STUBBORN = 3
"""Episodes in a row that a simulator may break, each in a process of its own, before it is given up."""


def play(player: Player, protocol: Protocol, inputs: Inputs) -> Generator[Played, None, None]:
    """Every episode of the manifest, in the order in which they end."""
    check_chunk(player, protocol)
    check_told(player, protocol, inputs)
    rows = min(rules_of(protocol.benchmark).rows, len(protocol.manifest()))
    return play_on(lambda: open_env(protocol, rows), player, inputs, [protocol.manifest()])


def play_on(
    opened: Callable[[], BenchmarkEnv], player: Player, inputs: Inputs, rounds: Iterable[Sequence[Start]]
) -> Generator[Played, None, None]:
    """As `play_rounds`, in an environment that is opened here, and again when its simulator dies or does not answer.

    What such a round has left is then played one episode after the other; an episode whose simulator fails once more
    counts as failed, and its outcome's `fault` says why. Raises SimulatorFailed where three in a row end so: it is not
    the episodes.
    """
    desk = _Desk(opened)
    try:
        for starts in rounds:
            yield from desk.play(player, inputs, starts)
    finally:
        desk.env.close()


class _Desk:
    def __init__(self, opened: Callable[[], BenchmarkEnv]):
        self.opened, self.env = opened, opened()
        self.broken = 0

    def play(self, player: Player, inputs: Inputs, starts: Sequence[Start]) -> Iterator[Played]:
        left = list(starts)
        try:
            for one in play_rounds(self.env, player, inputs, [starts]):
                left.remove(one.start)
                self.broken = 0
                yield one
        except SimulatorFailed:
            self._reopen()
            for start in left:
                yield self._alone(player, inputs, start)

    def _alone(self, player: Player, inputs: Inputs, start: Start) -> Played:
        try:
            [one] = play_rounds(self.env, player, inputs, [[start]])
        except SimulatorFailed as error:
            self.broken += 1
            if self.broken == STUBBORN:
                raise
            self._reopen()
            return _marked(start, str(error), width=len(self.env.rules.actions))
        self.broken = 0
        return one

    def _reopen(self) -> None:
        self.env.close()
        self.env = self.opened()


def _marked(start: Start, why: str, *, width: int) -> Played:
    outcome = Outcome(
        task=start.task,
        initial_state=start.initial_state,
        seed=start.seed,
        instruction="",
        success=False,
        steps=0,
        progress=0.0,
        seconds=0.0,
        fault=why.splitlines()[0],
    )
    return Played(start, outcome, np.zeros((0, width)))
