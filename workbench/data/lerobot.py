"""LeRobot datasets, v3.0 and v2.1, images or videos: opened and checked, and their episodes read into memory."""

# R rows of one data file  N frames  D values of a column

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.data import lerobot_metadata, lerobot_statistics, lerobot_v21
from workbench.data.contract import Episode, Frames
from workbench.data.dataset import Dataset, EpisodeFacts, Vectors, check_chosen
from workbench.data.lerobot_layout import ACTION, COUNTERS, OLDER, PRIVILEGED, STATE, TASKS, Info, dimension_names
from workbench.data.lerobot_metadata import EpisodeRecord, check_data_files, chosen_camera, read_info
from workbench.data.lerobot_read import AGAIN, decode, matrix, pictures, read_table
from workbench.data.lerobot_video import decode_span
from workbench.data.statistics import Statistics
from workbench.errors import UserError

AT_ONCE = 2**29
"""Bytes of decoded pictures that are read at once."""


@dataclass(frozen=True, eq=False)
class LerobotDataset(Dataset):
    """A dataset whose metadata and files were checked when it was opened."""

    root: Path
    format: str
    cameras: tuple[str, ...]
    camera: str
    """The column of the images."""
    fps: float | None
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    episodes: Sequence[EpisodeFacts]
    statistics: Mapping[str, Statistics]
    """By feature; those of the state and of the action are always there."""
    digest: str
    """SHA-256 over the data and metadata files, the camera's videos, and their places within the dataset."""
    info: Info
    tasks: tuple[str, ...]
    records: tuple[EpisodeRecord, ...]
    """The episodes, and where they lie."""

    def blocks(self, episodes: Sequence[int]) -> Iterator[Frames]:
        """Episodes of one data file at a time, and of those as many as have `AT_ONCE` bytes of pictures.

        Raises UserError where a file is damaged or disagrees with the metadata, or a state or action is not finite
        (names column, episode and frame).
        """
        most = AT_ONCE // math.prod(self.info.features[self.camera].shape)
        together: dict[Path, list[int]] = {}
        for index in episodes:
            together.setdefault(self.records[index].file, []).append(index)
        for chosen in together.values():
            block, frames = list[int](), 0
            for index in chosen:
                if block and frames + self.records[index].length > most:
                    yield self._block(block)
                    block, frames = [], 0
                block.append(index)
                frames += self.records[index].length
            yield self._block(block)

    def _block(self, episodes: Sequence[int]) -> Frames:
        chosen = {index: self.records[index] for index in episodes}
        in_files = self.info.features[self.camera].dtype == "image"
        column, encoded = self._rows(chosen, (self.camera,) if in_files else ())
        episode, step, task_index = (
            column[name][:, 0].astype(np.int64) for name in ("episode_index", "frame_index", "task_index")
        )
        if not ((0 <= task_index) & (task_index < len(self.tasks))).all():
            raise UserError(f"{self.root} has frames of a task that {TASKS} does not list. {AGAIN}")
        names = self._names(column)
        return Frames(
            image=decode(encoded, names) if in_files else self._decoded(chosen, column["timestamp"][:, 0]),
            state=_finite(STATE, column[STATE], names),
            action=_finite(ACTION, column[ACTION], names),
            episode=episode,
            step=step,
            task_index=task_index,
            tasks=self.tasks,
            extra={name: _finite(name, column[name], names) for name in self._privileged},
            extra_names={name: tuple(self.info.features[name].names or ()) for name in self._privileged},
        )

    def vectors(self, index: int) -> Vectors:
        """State and actions of an episode; of its data file only the row groups that hold it are read."""
        check_chosen(self, [index])
        column, _ = self._rows({index: self.records[index]}, ())
        names = self._names(column)
        return Vectors(state=_finite(STATE, column[STATE], names), action=_finite(ACTION, column[ACTION], names))

    def episode(self, index: int) -> Episode:
        """The whole episode; of its data file only the row groups that hold it are read, of its video its pictures."""
        frames = self.frames([index])
        return Episode(frames.image, frames.state, frames.action, self.episodes[index].instruction, frames.extra)

    @property
    def _privileged(self) -> tuple[str, ...]:
        return tuple(name for name in self.info.features if name.startswith(PRIVILEGED))

    def _names(self, column: Mapping[str, np.ndarray]) -> list[str]:
        """What errors call each row."""
        places = zip(column["episode_index"][:, 0].tolist(), column["frame_index"][:, 0].tolist(), strict=True)
        return [f"episode {episode}, frame {step} of {self.root}" for episode, step in places]

    def _rows(
        self, chosen: Mapping[int, EpisodeRecord], cameras: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], list[bytes]]:
        """[N, D] of every column and the encoded images of these cameras, by chosen episode and step."""
        widths = {name: self.info.features[name].shape[0] for name in (STATE, ACTION, *self._privileged, *COUNTERS)}
        columns: dict[str, list[np.ndarray]] = {name: [] for name in widths}
        encoded: list[bytes] = []
        for path in dict.fromkeys(record.file for record in chosen.values()):
            table = read_table(path, [*cameras, *widths], list(chosen))
            for name, width in widths.items():
                columns[name].append(matrix(table, name, width, path))
            for camera in cameras:
                encoded += pictures(table, camera, path)
        stored = {name: np.concatenate(parts) for name, parts in columns.items()}
        order = self._order(stored, chosen)
        return {name: values[order] for name, values in stored.items()}, [encoded[row] for row in order if encoded]

    def _decoded(self, chosen: Mapping[int, EpisodeRecord], second_N: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, 3] of the chosen episodes' videos, at these times within their episodes."""
        image_NHWC = np.empty((0, 0, 0, 3), np.uint8)
        start = 0
        for index, record in chosen.items():
            assert record.video is not None and self.fps is not None, "found when it was opened"
            second_T = second_N[start : start + record.length]
            image = decode_span(record.video, second_T, self.fps, f"episode {index}")
            if start == 0:
                image_NHWC = np.empty((len(second_N), *image.shape[1:]), np.uint8)
            if image.shape[1:] != image_NHWC.shape[1:]:
                raise UserError(
                    f"The video of episode {index} of {self.root} has pictures of {list(image.shape[1:3])}, others of "
                    f"{list(image_NHWC.shape[1:3])}. One dataset has one size."
                )
            image_NHWC[start : start + record.length] = image
            start += record.length
        return image_NHWC

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


def open_dataset(root: Path, camera: str | None = None) -> LerobotDataset:
    """Open a dataset folder and check it: metadata, columns, row counts, statistics; images are not decoded yet.

    `camera` is the column whose pictures are read; it must be named where there are several. Raises UserError, which
    names the file, column or value and the remedy, where anything is missing, damaged or of another format version.
    """
    if not root.is_dir():
        raise UserError(f"There is no dataset folder {root}. `workbench collect` writes one.")
    info = read_info(root)
    camera = chosen_camera(root, info, camera)
    older = info.codebase_version == OLDER
    layout = lerobot_v21 if older else lerobot_metadata
    records = layout.read_episodes(root, info, camera)
    check_data_files(records, info)
    tasks = layout.read_tasks(root, info)
    read_statistics = lerobot_v21.read_statistics if older else lerobot_statistics.read_statistics
    return LerobotDataset(
        root=root,
        format=f"LeRobot {info.codebase_version}",
        cameras=info.cameras,
        camera=camera,
        fps=info.fps,
        state_names=dimension_names(info.features[STATE]),
        action_names=dimension_names(info.features[ACTION]),
        episodes=records,
        statistics=read_statistics(root, info, [record.file for record in records]),
        digest=_digest(root, records, (".json", ".jsonl", ".parquet") if older else (".json", ".parquet")),
        info=info,
        tasks=tasks,
        records=records,
    )


def _digest(root: Path, records: Sequence[EpisodeRecord], suffixes: tuple[str, ...]) -> str:
    total = hashlib.sha256()
    found = [path for folder in ("data", "meta") for path in (root / folder).rglob("*")]
    files = {path for path in found if path.suffix in suffixes}
    for path in sorted(files | {record.video.path for record in records if record.video is not None}):
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
