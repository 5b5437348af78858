"""Frames in random order out of a data set that does not fit into memory."""

# T steps of one episode  H, W pixels  S state width  A action width  K actions in a chunk

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.data.contract import Episode
from workbench.data.dataset import Dataset, check_chosen


@dataclass(frozen=True, eq=False)
class Moment:
    """One frame, and the actions from it on. Its arrays are its own: it keeps no episode in memory."""

    episode: int
    """The episode's index in its data set."""
    step: int
    """Counted from 0 within the episode."""
    image: np.ndarray
    """uint8 [H, W, 3], RGB."""
    state: np.ndarray
    """float32 [S]."""
    action: np.ndarray
    """float32 [K, A]; past the episode's end its last action is repeated."""
    padded: np.ndarray
    """bool [K], true past the end."""
    instruction: str
    extra: Mapping[str, np.ndarray]
    """float32 [D] each: the data set's privileged columns, where it has any."""


def stream(
    dataset: Dataset, episodes: Sequence[int], *, chunk: int = 1, buffer: int, seed: int | Sequence[int]
) -> Iterator[Moment]:
    """One epoch: every frame of the chosen episodes once, with the next `chunk` >= 1 actions, in random order.

    Episodes come in random order, each is decoded once, and its frames pass through `buffer` >= 1 others, of which a
    random one leaves for each that enters. At most one episode and `buffer` frames are in memory. The same seed gives
    the same order; `[seed, epoch]` another for each epoch. Raises UserError as `Dataset.episode` does.
    """
    check_chosen(dataset, episodes)
    random = np.random.default_rng(seed)
    held: list[Moment] = []
    for index in random.permutation(np.asarray(episodes)).tolist():
        for moment in _moments(dataset.episode(index), index, chunk):
            if len(held) < buffer:
                held.append(moment)
                continue
            place = int(random.integers(buffer))
            leaving, held[place] = held[place], moment
            yield leaving
    for place in random.permutation(len(held)):
        yield held[place]


def _moments(episode: Episode, index: int, chunk: int) -> Iterator[Moment]:
    """The episode's frames in order."""
    last = len(episode.action) - 1
    for step in range(last + 1):
        wanted_K = np.arange(step, step + chunk)
        yield Moment(
            episode=index,
            step=step,
            image=episode.image[step].copy(),
            state=episode.state[step].copy(),
            action=episode.action[np.minimum(wanted_K, last)],
            padded=wanted_K > last,
            instruction=episode.instruction,
            extra={name: values[step].copy() for name, values in episode.extra.items()},
        )
