"""What every format of demonstrations promises: opened and checked at once, read an episode at a time."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.data.contract import Episode, Frames
from workbench.data.joined import joined
from workbench.data.statistics import Statistics
from workbench.errors import UserError

# T steps of one episode  S state width  A action width


@dataclass(frozen=True)
class EpisodeFacts:
    """What is known of an episode before it is read."""

    index: int
    length: int
    """Frames."""
    instruction: str


@dataclass(frozen=True, eq=False)
class Vectors:
    """The numbers of one episode, without its pictures."""

    state: np.ndarray
    """float32 [T, S]."""
    action: np.ndarray
    """float32 [T, A]."""


class Dataset(ABC):
    """Demonstrations on disk. `camera` is the one whose pictures are read, out of `cameras`.

    State and actions are as they are stored: what their dimensions mean says a description, and nothing is guessed.
    """

    root: Path
    format: str
    """As users call it: "LeRobot v3.0"."""
    cameras: tuple[str, ...]
    camera: str
    fps: float | None
    """Pictures a second; None where the format does not say."""
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    episodes: Sequence[EpisodeFacts]
    """By index, from 0."""
    statistics: Mapping[str, Statistics]
    """Of `observation.state` and `action`: the data set's own, or computed where its format has none."""
    digest: str
    """SHA-256 over what the episodes are read from, wherever that lies."""

    @abstractmethod
    def vectors(self, index: int) -> Vectors:
        """State and actions of an episode. Raises UserError where they are damaged or not finite."""

    @abstractmethod
    def episode(self, index: int) -> Episode:
        """The whole episode, pictures decoded in order. Raises UserError that names what is damaged, and where."""

    def frames(self, episodes: Sequence[int]) -> Frames:
        """Every step of the chosen episodes, in the order given. Raises UserError as `episode` does.

        Not more than a few hundred megabytes are read at once; where the pictures are too many for memory, they lie in
        a file (`workbench.data.joined`).
        """
        check_chosen(self, episodes)
        return joined(self.blocks(episodes), {index: self.episodes[index].length for index in episodes})

    def blocks(self, episodes: Sequence[int]) -> Iterator[Frames]:
        """The frames of these episodes in parts, each of some whole episodes; a format that reads several at once says
        which."""
        tasks = tuple(dict.fromkeys(facts.instruction for facts in self.episodes))
        for index in episodes:
            read = self.episode(index)
            length = len(read.action)
            yield Frames(
                image=read.image,
                state=read.state,
                action=read.action,
                episode=np.full(length, index, np.int64),
                step=np.arange(length),
                task_index=np.full(length, tasks.index(read.instruction)),
                tasks=tasks,
                extra=read.extra,
            )


def check_chosen(dataset: Dataset, episodes: Sequence[int]) -> None:
    """Raises UserError for episodes that there are not, that are named twice, and for none at all."""
    for index in episodes:
        if not 0 <= index < len(dataset.episodes):
            raise UserError(
                f"There is no episode {index} in {dataset.root}. It has {len(dataset.episodes)}: 0 to "
                f"{len(dataset.episodes) - 1}."
            )
    if not episodes or len(set(episodes)) < len(episodes):
        raise UserError(f"Choose at least one episode of {dataset.root}, and each only once; got {list(episodes)}.")
