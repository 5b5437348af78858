"""LeRobot v3.0 datasets in image mode: opened and checked, and their episodes read into memory."""

# R rows of one data file  N frames  D values of a column

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.data.contract import Frames
from workbench.data.lerobot_layout import ACTION, COUNTERS, PRIVILEGED, STATE, TASKS, Info
from workbench.data.lerobot_metadata import (
    EpisodeRecord,
    camera_column,
    check_data_files,
    read_episodes,
    read_info,
    read_statistics,
    read_tasks,
)
from workbench.data.lerobot_read import AGAIN, decode, matrix, pictures, read_table
from workbench.data.statistics import Statistics
from workbench.errors import UserError


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset whose metadata and files were checked when it was opened."""

    root: Path
    info: Info
    camera: str
    """The column of the images."""
    tasks: tuple[str, ...]
    episodes: tuple[EpisodeRecord, ...]
    """By index, from 0."""
    statistics: Mapping[str, Statistics]
    """By feature; those of the state and of the action are always there."""
    digest: str
    """SHA-256 over the data and metadata files and their places within the dataset, wherever that lies."""

    def frames(self, episodes: Sequence[int]) -> Frames:
        """Every step of the chosen episodes, in the order given, images decoded.

        Raises UserError where an index is out of range or given twice, a file is damaged or disagrees with the
        metadata, or a state or action is not finite (names column, episode and frame).
        """
        chosen = self._chosen(episodes)
        columns, encoded = self._rows(chosen)
        order = self._order(columns, chosen)
        column = {name: values[order] for name, values in columns.items()}
        episode, step, task_index = (
            column[name][:, 0].astype(np.int64) for name in ("episode_index", "frame_index", "task_index")
        )
        if not ((0 <= task_index) & (task_index < len(self.tasks))).all():
            raise UserError(f"{self.root} has frames of a task that {TASKS} does not list. {AGAIN}")
        names = [f"episode {e}, frame {s} of {self.root}" for e, s in zip(episode, step, strict=True)]
        return Frames(
            image=decode([encoded[row] for row in order], names),
            state=_finite(STATE, column[STATE], names),
            action=_finite(ACTION, column[ACTION], names),
            episode=episode,
            step=step,
            task_index=task_index,
            tasks=self.tasks,
            extra={name: _finite(name, column[name], names) for name in self._privileged},
            extra_names={name: tuple(self.info.features[name].names or ()) for name in self._privileged},
        )

    @property
    def _privileged(self) -> tuple[str, ...]:
        return tuple(name for name in self.info.features if name.startswith(PRIVILEGED))

    def _chosen(self, episodes: Sequence[int]) -> dict[int, EpisodeRecord]:
        for index in episodes:
            if not 0 <= index < len(self.episodes):
                raise UserError(
                    f"There is no episode {index} in {self.root}. It has {len(self.episodes)}: 0 to "
                    f"{len(self.episodes) - 1}."
                )
        chosen = {index: self.episodes[index] for index in episodes}
        if not chosen or len(chosen) < len(episodes):
            raise UserError(f"Choose at least one episode of {self.root}, and each only once; got {list(episodes)}.")
        return chosen

    def _rows(self, chosen: Mapping[int, EpisodeRecord]) -> tuple[dict[str, np.ndarray], list[bytes]]:
        """The chosen episodes' cells as they lie in the files: [R, D] of every column, and the encoded images."""
        widths = {name: self.info.features[name].shape[0] for name in (STATE, ACTION, *self._privileged, *COUNTERS)}
        columns: dict[str, list[np.ndarray]] = {name: [] for name in widths}
        encoded: list[bytes] = []
        for path in dict.fromkeys(record.file for record in chosen.values()):
            table = read_table(path, [self.camera, *widths], list(chosen))
            for name, width in widths.items():
                columns[name].append(matrix(table, name, width, path))
            encoded += pictures(table, self.camera, path)
        return {name: np.concatenate(parts) for name, parts in columns.items()}, encoded

    def _order(self, columns: Mapping[str, np.ndarray], chosen: Mapping[int, EpisodeRecord]) -> np.ndarray:
        """[N] rows by chosen episode and step; raises UserError where they are not the steps that were promised."""
        rank = {index: place for place, index in enumerate(chosen)}
        episode, step = columns["episode_index"][:, 0], columns["frame_index"][:, 0]
        order = np.lexsort((step, np.array([rank[index] for index in episode.tolist()])))
        for index, record in chosen.items():
            found = np.sort(step[episode == index])
            if not np.array_equal(found, np.arange(record.length)):
                raise UserError(
                    f"Episode {index} should have frames 0 to {record.length - 1}, but {record.file} holds "
                    f"{len(found)} for it, or other ones. {AGAIN}"
                )
        return order


def open_dataset(root: Path) -> Dataset:
    """Open a dataset folder and check it: metadata, columns, row counts, statistics; images are not decoded yet.

    Raises UserError, which names the file, column or value and the remedy, where anything is missing, damaged or of
    a kind that is not read here: another format version, videos, several cameras.
    """
    if not root.is_dir():
        raise UserError(f"There is no dataset folder {root}. `workbench collect` writes one.")
    info = read_info(root)
    camera = camera_column(root, info)
    records = read_episodes(root, info)
    check_data_files(records, info)
    return Dataset(
        root=root,
        info=info,
        camera=camera,
        tasks=read_tasks(root, info),
        episodes=records,
        statistics=read_statistics(root, info),
        digest=_digest(root),
    )


def _digest(root: Path) -> str:
    total = hashlib.sha256()
    files = [path for folder in ("data", "meta") for path in (root / folder).rglob("*")]
    for path in sorted(path for path in files if path.suffix in (".json", ".parquet")):
        with path.open("rb") as content:
            total.update(path.relative_to(root).as_posix().encode() + b"\0")
            total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


def _finite(column: str, values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    broken = np.argwhere(~np.isfinite(values))
    if len(broken):
        row, dimension = broken[0]
        raise UserError(
            f"Column '{column}' is {values[row, dimension]} in dimension {dimension} at {names[row]}. {AGAIN}"
        )
    return values.astype(np.float32)
