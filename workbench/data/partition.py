"""Episodes in two parts, every task's in the same proportion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.errors import UserError


@dataclass(frozen=True)
class Partition:
    """Two parts of a data set's episodes, each in ascending order."""

    training: tuple[int, ...]
    held_out: tuple[int, ...]


def partition(instructions: Sequence[str], share: float, *, seed: int) -> Partition:
    """`share` of all episodes for training, and of every task's as nearly as whole episodes allow.

    Where a task's share is no whole number, the rounding is spread over the tasks with the largest remainders, so that
    the total is exact; which episodes go where, and which of equal remainders are rounded up, is drawn from `seed`.
    Raises UserError where a part would be empty.
    """
    count = len(instructions)
    training = round(share * count)
    if not 0 < training < count:
        raise UserError(
            f"A share of {share:g} of {count} episodes leaves one part empty. Choose a share between 0 and 1 that "
            "leaves each part at least one episode."
        )
    random = np.random.default_rng(seed)
    tasks = {task: [i for i, told in enumerate(instructions) if told == task] for task in dict.fromkeys(instructions)}
    exact = np.array([share * len(episodes) for episodes in tasks.values()])
    taken = np.floor(exact + 1e-9).astype(int)
    by_remainder = np.lexsort((random.permutation(len(tasks)), taken - exact))
    taken[by_remainder[: training - taken.sum()]] += 1
    chosen: set[int] = set()
    for episodes, number in zip(tasks.values(), taken, strict=True):
        chosen |= set(random.permutation(episodes)[:number].tolist())
    return Partition(tuple(sorted(chosen)), tuple(i for i in range(count) if i not in chosen))
