"""Datasets of Open X-Embodiment (RLDS in TFRecord files, as TensorFlow Datasets writes them), without TensorFlow."""

# T steps of one episode  D values of a column  S state width  A action width

import hashlib
import mmap
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np

from workbench.data.computed import checked_numbers, choose_camera
from workbench.data.contract import Episode
from workbench.data.dataset import Dataset, EpisodeFacts, Vectors, check_chosen
from workbench.data.depth import WithDepth
from workbench.data.example import Buffer, Malformed, byte_strings, features, floats, integers
from workbench.data.lerobot_layout import ACTION, STATE
from workbench.data.lerobot_read import decode
from workbench.data.rlds_columns import OBSERVATION, Columns, check_columns, dimension_names, known_columns
from workbench.data.rlds_depth import decode_depth, in_pictures
from workbench.data.rlds_layout import FEATURES, STEPS, Column, StepFeatures, read_features, read_info, shards
from workbench.data.statistics import Statistics
from workbench.data.tfrecord import AGAIN, Record, read, scan
from workbench.errors import UserError

Values = TypeVar("Values")
Places = Mapping[str, slice]
"""Where the features of an Example lie in its buffer, by name."""


@dataclass(frozen=True)
class Place:
    """Where an episode lies."""

    path: Path
    number: int
    """Of the record in its file, from 0."""
    record: Record

    def __str__(self) -> str:
        return f"record {self.number} of {self.path}"

    @property
    def subject(self) -> str:
        """The same at the head of a sentence."""
        return f"Record {self.number} of {self.path}"


class RldsDataset(Dataset, WithDepth):
    """Episodes file by file, in the order of their records.

    When opened, the lengths of all records are checked, and every episode's numbers and instruction are read; its
    pictures are not, nor is the checksum of its data. Both are when the episode is. `statistics` are exact. `digest`
    covers features.json, the columns and the camera that are read and, of every record, its length and the checksum
    that lies beside it: where the data are others, the episode is refused.
    """

    def __init__(
        self, root: Path, step: StepFeatures, columns: Columns, camera: str | None, places: Sequence[Place]
    ) -> None:
        """Reads. Raises UserError for an unknown feature or camera, and one that names the record that is damaged."""
        check_columns(columns, step, str(root))
        self.root, self.format, self.fps = root, "RLDS", None
        self._step, self._columns, self._places = step, columns, tuple(places)
        self._images = {key.removeprefix(OBSERVATION): key for key in step.images}
        self.cameras = tuple(self._images)
        self.camera = choose_camera(camera or columns.camera, self.cameras, root)
        self.state_names = dimension_names(columns.state, step)
        self.action_names = dimension_names(columns.action, step)
        self.episodes, self.statistics, self.digest = self._survey()

    def vectors(self, index: int) -> Vectors:
        check_chosen(self, [index])
        place, data = self._places[index], _data(self._places[index])
        with _told(place):
            return self._vectors(data, features(data, 0, len(data)), place)

    def episode(self, index: int) -> Episode:
        check_chosen(self, [index])
        place, data = self._places[index], _data(self._places[index])
        with _told(place):
            found = features(data, 0, len(data))
            vectors = self._vectors(data, found, place)
            key = self._images[self.camera]
            encoded = _value(byte_strings, data, found, key)
            _check_steps(key, len(encoded), len(vectors.action))
        return Episode(
            image=decode(encoded, [f"step {step} of {place}" for step in range(len(encoded))]),
            state=vectors.state,
            action=vectors.action,
            instruction=self.episodes[index].instruction,
        )

    def depth(self, index: int, column: str) -> np.ndarray | None:
        """`column` is the path of a feature below `steps`, of numbers or of encoded pictures with one channel."""
        check_chosen(self, [index])
        place, data, step = self._places[index], _data(self._places[index]), self._step
        if column not in step.columns and column not in step.depths:
            return None
        with _told(place):
            found = features(data, 0, len(data))
            if column in step.columns:
                read = in_pictures(_rows(data, found, column, step.columns[column]), step.columns[column].shape, column)
            else:
                encoded = _value(byte_strings, data, found, column)
                read = decode_depth(encoded, step.depths[column], str(place))
            _check_steps(column, len(read), self.episodes[index].length)
        return read

    def _survey(self) -> tuple[tuple[EpisodeFacts, ...], dict[str, Statistics], str]:
        total = hashlib.sha256((self.root / FEATURES).read_bytes())
        total.update(repr((self._columns.action, self._columns.state, self._columns.instruction, self.camera)).encode())
        facts: list[EpisodeFacts] = []
        parts: list[Vectors] = []
        for place, vectors, instruction in self._surveyed():
            total.update(f"{place.path.name} {place.record.length} {place.record.checksum}\n".encode())
            facts.append(EpisodeFacts(len(facts), len(vectors.action), instruction))
            parts.append(vectors)
        if not parts:
            raise UserError(f"{self.root} has no episode.")
        statistics = {
            STATE: Statistics.from_values(np.concatenate([part.state for part in parts])),
            ACTION: Statistics.from_values(np.concatenate([part.action for part in parts])),
        }
        return tuple(facts), statistics, total.hexdigest()

    def _surveyed(self) -> Iterator[tuple[Place, Vectors, str]]:
        """What is small of every episode. Files are mapped: what lies between is not read."""
        for path, places in groupby(self._places, key=lambda place: place.path):
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                if sys.platform != "win32":  # Or the pictures between would be read ahead.
                    mapped.madvise(mmap.MADV_RANDOM)
                for place in places:
                    with _told(place):
                        start = place.record.offset
                        found = features(mapped, start, start + place.record.length)
                        vectors = self._vectors(mapped, found, place)
                        instruction = self._instruction(mapped, found, len(vectors.action))
                    yield place, vectors, instruction

    def _vectors(self, buffer: Buffer, found: Places, place: Place) -> Vectors:
        action = self._joined(buffer, found, self._columns.action)
        state = self._joined(buffer, found, self._columns.state)
        _check_steps(self._columns.state[0], len(state), len(action))
        return Vectors(
            state=checked_numbers(state, self.state_names, f"The state of {place}", length=len(action)),
            action=checked_numbers(action, self.action_names, f"The action of {place}", length=len(action)),
        )

    def _joined(self, buffer: Buffer, found: Places, keys: Sequence[str]) -> np.ndarray:
        """[T, D] of several features; raises Malformed where one is missing, or they are not of the same T steps."""
        parts = [_rows(buffer, found, key, self._step.columns[key]) for key in keys]
        for key, part in zip(keys, parts, strict=True):
            _check_steps(key, len(part), len(parts[0]))
        return np.concatenate(parts, axis=1)

    def _instruction(self, buffer: Buffer, found: Places, steps: int) -> str:
        key = self._columns.instruction
        texts = _value(byte_strings, buffer, found, key)
        _check_steps(key, len(texts), steps)
        if len(set(texts)) != 1:
            raise Malformed(f"'{STEPS}/{key}' has {len(set(texts))} different texts, where an episode has one")
        try:
            return texts[0].decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(f"'{STEPS}/{key}' is not UTF-8: {texts[0]!r}") from error


def open_rlds(
    root: Path, camera: str | None = None, *, split: str = "train", columns: Columns | None = None
) -> RldsDataset:
    """Open a folder `<name>/<version>` of TensorFlow Datasets with episodes in the form of RLDS.

    `columns` says which features make up action and state; without it, the folder's name or the dataset's is looked
    up among those known (`workbench.data.rlds_columns`), and where it is not known, `action`, `observation/state` and
    `language_instruction` are taken. Raises UserError, which names the file and the record, for anything missing or
    damaged, and which says what there is instead for an unknown camera, split or feature.
    """
    info = read_info(root)
    chosen = columns or known_columns((root.resolve().parent.name, info.name))
    places: list[Place] = []
    for path, promised in shards(root, info, split):
        records = scan(path)
        if len(records) != promised:
            raise UserError(f"{path} has {len(records)} records, but dataset_info.json says {promised}. {AGAIN}")
        places += [Place(path, number, record) for number, record in enumerate(records)]
    return RldsDataset(root, read_features(root), chosen, camera, places)


def _data(place: Place) -> bytes:
    return read(place.path, place.record, place.subject)


def _value(read_as: Callable[[bytes], Values], buffer: Buffer, found: Places, key: str) -> Values:
    """What a feature of the steps holds; raises Malformed where it is missing or of another kind."""
    name = f"{STEPS}/{key}"
    if name not in found:
        raise Malformed(f"it has no feature '{name}'")
    try:
        return read_as(buffer[found[name]])
    except Malformed as error:
        raise Malformed(f"its feature '{name}' is not as features.json says: {error}") from error


def _rows(buffer: Buffer, found: Places, key: str, column: Column) -> np.ndarray:
    """[T, D] of a feature; raises Malformed where that is not T >= 1 whole rows."""
    values = _value(floats if column.floating else integers, buffer, found, key)
    if len(values) == 0:
        raise Malformed(f"it has no steps: '{STEPS}/{key}' is empty")
    if len(values) % column.width:
        raise Malformed(f"'{STEPS}/{key}' has {len(values)} numbers, which are no rows of {column.width}")
    return values.reshape(-1, column.width)


def _check_steps(key: str, found: int, steps: int) -> None:
    if found != steps:
        raise Malformed(f"'{STEPS}/{key}' has {found} steps, the action has {steps}")


@contextmanager
def _told(place: Place) -> Iterator[None]:
    try:
        yield
    except Malformed as error:
        raise UserError(f"{place.subject} is no whole episode: {error}. {AGAIN}") from error
