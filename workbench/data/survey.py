"""All numbers of a data set, read episode by episode; an episode that cannot be read is told, not fatal."""

# N frames of all readable episodes  D dimensions of a column

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from workbench.data.dataset import Dataset
from workbench.data.lerobot_layout import ACTION, STATE
from workbench.errors import UserError

COLUMNS = (STATE, ACTION)


@dataclass(frozen=True, eq=False)
class Survey:
    """A data set's numbers, without its pictures."""

    dataset: Dataset
    columns: Mapping[str, np.ndarray]
    """float32 [N, D] of the state and the action, readable episodes one after another."""
    lengths: Mapping[int, int]
    """Frames that were found, by readable episode."""
    digests: Mapping[int, str]
    """SHA-256 of the actions, by readable episode."""
    unreadable: Mapping[int, str]
    """Why, by episode."""

    def names(self, column: str) -> tuple[str, ...]:
        """Of the column's dimensions."""
        return self.dataset.state_names if column == STATE else self.dataset.action_names

    @property
    def tasks(self) -> dict[str, int]:
        """Episodes by instruction, the most frequent first."""
        return dict(Counter(episode.instruction for episode in self.dataset.episodes).most_common())


def survey(dataset: Dataset, tell: Callable[[float, float], None] | None = None) -> Survey:
    """Read the numbers of every episode; `tell` takes how many are done, and of how many.

    Raises UserError where no episode at all can be read.
    """
    found: dict[str, list[np.ndarray]] = {column: [] for column in COLUMNS}
    lengths: dict[int, int] = {}
    digests: dict[int, str] = {}
    unreadable: dict[int, str] = {}
    for index in range(len(dataset.episodes)):
        try:
            vectors = dataset.vectors(index)
        except UserError as error:
            unreadable[index] = str(error)
        else:
            for column, values in zip(COLUMNS, (vectors.state, vectors.action), strict=True):
                found[column].append(values)
            lengths[index] = len(vectors.action)
            digests[index] = hashlib.sha256(vectors.action.tobytes()).hexdigest()
        if tell:
            tell(index + 1, len(dataset.episodes))
    if not lengths:
        reason = next(iter(unreadable.values()), "it has none")
        raise UserError(f"No episode of {dataset.root} can be read: {reason}")
    columns = {column: np.concatenate(parts) for column, parts in found.items()}
    return Survey(dataset=dataset, columns=columns, lengths=lengths, digests=digests, unreadable=unreadable)
