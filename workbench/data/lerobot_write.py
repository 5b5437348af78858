"""Demonstrations to disk, as a LeRobot v3.0 dataset, images or videos, that `lerobot` itself opens."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.data.contract import Episode
from workbench.data.lerobot_file import DataFile
from workbench.data.lerobot_layout import (
    ACTION,
    CAMERAS,
    EPISODES,
    FILES_IN_A_FOLDER,
    INFO,
    NUMBERED,
    STATE,
    STATISTICS,
    TASKS,
    VERSION,
    VIDEOS,
    Feature,
    Info,
    image_features,
    tasks_table,
    video_features,
)
from workbench.data.lerobot_video_file import ENCODERS, VideoFiles, encoder
from workbench.data.statistics import Statistics
from workbench.errors import UserError

DATA_FILE_MEGABYTES = 100
"""A data file that has reached this size (2²⁰ bytes each) is followed by another; LeRobot's default."""


def write_dataset(
    root: Path,
    episodes: Iterable[Episode],
    *,
    fps: int,
    robot_type: str,
    camera: str = "front",
    action_names: Sequence[str],
    state_names: Sequence[str],
    extra_names: Mapping[str, Sequence[str]] | None = None,
    video: bool = False,
) -> Path:
    """Write the episodes, numbered in order, to the new folder `root`, and return it.

    `extra_names` are the dimensions of their extra columns. With `video` the pictures are encoded (H.264, a keyframe
    every second one): many times smaller, and no longer the same to the bit; their height and width must be even.
    Episodes may come from a generator: at most one data file and one video are held in memory. The dataset is written
    in a sibling folder and renamed when complete, so `root` is either absent or whole. The same episodes give the same
    bytes.
    Raises UserError where `root` exists, there is no episode, an episode differs in image size or width from what was
    promised, a value is not finite (names episode, frame and column), or the disk refuses.
    """
    if root.exists():
        raise UserError(f"{root} exists already. Choose another folder, or delete it first.")
    partial = root.with_name(f".{root.name}.{uuid4().hex}.partial")
    try:
        extra = {column: [*names] for column, names in (extra_names or {}).items()}
        names = {STATE: [*state_names], ACTION: [*action_names], **extra}
        writer = _Writer(partial, f"{CAMERAS}{camera}", names, fps, video=video)
        for episode in episodes:
            with _disk(root):
                writer.append(episode)
        with _disk(root):
            writer.finish(robot_type)
            partial.rename(root)
    finally:
        if partial.exists():
            shutil.rmtree(partial)
    return root


class _Writer:
    """A half-made dataset in `folder`: one row group an episode, a row of metadata each, statistics at the end."""

    def __init__(self, folder: Path, camera: str, names: dict[str, list[str]], fps: int, *, video: bool) -> None:
        self.folder, self.camera, self.names, self.fps = folder, camera, names, fps
        self.videos = VideoFiles(camera, fps, self._write) if video else None
        self.features: dict[str, Feature] = {}
        self.file: DataFile | None = None
        self.files = 0
        self.frames = 0
        self.rows: list[dict] = []
        self.tasks: dict[str, int] = {}
        self.columns: dict[str, list[np.ndarray]] = {}
        self.pixels_CL = np.zeros((3, 256), dtype=np.int64)

    def append(self, episode: Episode) -> None:
        """Add the next episode; the image size of the first is the dataset's."""
        height, width = episode.image.shape[1:3]
        features = image_features(self.camera, (height, width), self.names)
        if self.videos:
            features = video_features(features, ENCODERS[encoder()], self.fps)
        self.features = self.features or features
        _check(episode, len(self.rows), self.features, features)
        columns = self._columns(episode)
        pixels_CL = np.stack([np.bincount(episode.image[..., c].ravel(), minlength=256) for c in range(3)])
        self._describe(columns, episode.instruction, self._statistics(columns, pixels_CL))
        if self.videos:
            self.rows[-1] |= self.videos.append(episode.image)
        self.pixels_CL += pixels_CL
        self.frames += len(episode.image)
        for column, values in columns.items():
            self.columns.setdefault(column, []).append(values)
        self.file = self.file or DataFile(self.features)
        self.file.append(episode.image, columns)
        if self.file.size >= DATA_FILE_MEGABYTES * 2**20:
            self._flush(self.file)

    def finish(self, robot_type: str) -> None:
        """Write what is still in memory, then the metadata."""
        if not self.rows:
            raise UserError("A dataset needs at least one episode, and none was given.")
        if self.file is not None:
            self._flush(self.file)
        if self.videos:
            self.videos.flush()
        info = Info(
            codebase_version=VERSION,
            robot_type=robot_type,
            total_episodes=len(self.rows),
            total_frames=self.frames,
            total_tasks=len(self.tasks),
            data_files_size_in_mb=DATA_FILE_MEGABYTES,
            fps=self.fps,
            splits={"train": f"0:{len(self.rows)}"},
            video_path=VIDEOS if self.videos else None,
            features=self.features,
        )
        columns = {column: np.concatenate(values) for column, values in self.columns.items()}
        self._write(TASKS, _parquet(tasks_table([*self.tasks])))
        # A row of metadata is about 4 kB: one file of them serves tens of thousands of episodes.
        place = f"{EPISODES}/{NUMBERED.format(chunk_index=0, file_index=0)}"
        self._write(place, _parquet(pa.Table.from_pylist(self.rows)))
        self._write(STATISTICS, _json(self._statistics(columns, self.pixels_CL)))
        self._write(INFO, _json(info.model_dump()))

    def _columns(self, episode: Episode) -> dict[str, np.ndarray]:
        """Every column but the images, [T, D]."""
        step = np.arange(len(episode.image))
        counters = {
            "timestamp": (step / self.fps).astype(np.float32),
            "frame_index": step,
            "episode_index": np.full_like(step, len(self.rows)),
            "index": self.frames + step,
            "task_index": np.full_like(step, self.tasks.setdefault(episode.instruction, len(self.tasks))),
        }
        return _vectors(episode) | {k: v[:, None] for k, v in counters.items()}

    def _statistics(self, columns: dict[str, np.ndarray], pixels_CL: np.ndarray) -> dict[str, dict[str, list]]:
        frames = len(columns[ACTION])
        pictures = {self.camera: Statistics.from_histogram(pixels_CL, frames)}
        vectors = {column: Statistics.from_values(values) for column, values in columns.items()}
        return {column: statistics.to_json() for column, statistics in (pictures | vectors).items()}

    def _describe(self, columns: dict[str, np.ndarray], instruction: str, figures: dict[str, dict[str, list]]) -> None:
        """Add the episode's row of metadata."""
        chunk, file = divmod(self.files, FILES_IN_A_FOLDER)
        self.rows.append(
            {
                "episode_index": len(self.rows),
                "tasks": [instruction],
                "length": len(columns[ACTION]),
                "data/chunk_index": chunk,
                "data/file_index": file,
                "dataset_from_index": self.frames,
                "dataset_to_index": self.frames + len(columns[ACTION]),
                **{f"stats/{column}/{name}": x for column, record in figures.items() for name, x in record.items()},
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
        )

    def _flush(self, file: DataFile) -> None:
        chunk, index = divmod(self.files, FILES_IN_A_FOLDER)
        self._write(f"data/{NUMBERED.format(chunk_index=chunk, file_index=index)}", file.close())
        self.files += 1
        self.file = None

    def _write(self, name: str, content: bytes | pa.Buffer) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _check(episode: Episode, index: int, promised: dict[str, Feature], found: dict[str, Feature]) -> None:
    """Raises UserError where the episode does not fit the dataset's columns or holds a value that is not finite."""
    for column, feature in promised.items():
        if feature.is_camera and feature.shape != found[column].shape:
            raise UserError(
                f"Episode {index} has images of {list(found[column].shape)}, the ones before it of "
                f"{list(feature.shape)}. Render all episodes in one size."
            )
    for column, values in _vectors(episode).items():
        names = promised[column].names or []
        if values.shape[1] != len(names):
            raise UserError(
                f"Column '{column}' of episode {index} has {values.shape[1]} dimensions, but {len(names)} names were "
                f"given: {', '.join(names)}. Name every dimension."
            )
        broken = np.argwhere(~np.isfinite(values))
        if len(broken):
            frame, dimension = broken[0]
            raise UserError(
                f"Column '{column}' of episode {index} is {values[frame, dimension]} at frame {frame} "
                f"({names[dimension]}). Nothing was written; repair or leave out that episode."
            )


def _vectors(episode: Episode) -> dict[str, np.ndarray]:
    """Every column that the episode brings but its images, [T, D]."""
    return {STATE: episode.state, ACTION: episode.action, **episode.extra}


def _parquet(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="snappy")
    return sink.getvalue()


def _json(value: dict) -> bytes:
    return json.dumps(value, indent=4).encode()


@contextmanager
def _disk(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The dataset {root} cannot be written: {error.strerror}. Free some space there or choose another folder."
        ) from error
