"""Two policies play the same starts in an order drawn at random, until the sequential test tells them apart."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ablations.statistics.sequential import decided_at, e_values
from workbench.benchmarks.contract import Protocol, Start
from workbench.shards import Round, Told, rounds_of

FIRST, SECOND = "first", "second"


@dataclass(frozen=True)
class Verdict:
    """What a duel came to, over the first `episodes` starts of its order, each played by both.

    `won` and `lost` count those that the first or the second policy alone solved; `e_value` is what the test holds
    then: it is decided where that reached 1 / alpha. Without a decision nothing is known to differ.
    """

    episodes: int
    solved_first: int
    solved_second: int
    won: int
    lost: int
    e_value: float
    decided: bool

    @property
    def winner(self) -> str | None:
        """FIRST or SECOND; None where it is not decided."""
        if not self.decided:
            return None
        return FIRST if self.won > self.lost else SECOND


def drawn_order(protocol: Protocol, seed: int) -> list[Start]:
    """The manifest in an order drawn at random: the test supposes that no start was chosen to come early."""
    manifest = protocol.manifest()
    return [manifest[place] for place in np.random.default_rng(seed).permutation(len(manifest))]


def duel_rounds(order: Sequence[Start], protocol: Protocol) -> list[Round]:
    """Both policies' rounds, in turn: neither is far ahead."""
    pairs = zip(rounds_of(FIRST, order, protocol), rounds_of(SECOND, order, protocol), strict=True)
    return [one for pair in pairs for one in pair]


def duel(told: Iterator[Told], order: Sequence[Start]) -> Iterator[Verdict]:
    """What is known after each further start of `order` that both have played; ends with the decision.

    Outcomes may come in any order. They count in the drawn one, up to the first start that one of them has not ended:
    episodes that end sooner, such as solved ones, do not come first.
    """
    solved: dict[str, dict[Start, bool]] = {FIRST: {}, SECOND: {}}
    played: list[tuple[bool, bool]] = []
    for one in told:
        solved[one.who][one.start] = one.outcome.success
        while len(played) < len(order) and all(order[len(played)] in known for known in solved.values()):
            start = order[len(played)]
            played.append((solved[FIRST][start], solved[SECOND][start]))
            yield (verdict := judged(np.array(played)))
            if verdict.decided:
                return


def judged(solved_E2: np.ndarray) -> Verdict:
    """The verdict after these episodes, bool `[E, 2]`: first, second."""
    first, second = solved_E2.T
    won, lost = int((first & ~second).sum()), int((second & ~first).sum())
    return Verdict(
        episodes=len(first),
        solved_first=int(first.sum()),
        solved_second=int(second.sum()),
        won=won,
        lost=lost,
        e_value=float(e_values(np.array(won), np.array(lost))),
        decided=bool(decided_at(first, second) > 0),
    )
