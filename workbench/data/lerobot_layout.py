"""Names, places and column types of LeRobot datasets, v3.0 and v2.1, with images in the data files or videos beside.

Sources: what `lerobot` 0.4 reads and writes (v3.0, https://huggingface.co/docs/lerobot/lerobot-dataset-v3), and what
`lerobot` 0.3.3 did (v2.1: `src/lerobot/datasets/utils.py` there).
"""

import json
import re
from string import Formatter
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationInfo, field_validator

VERSION = "v3.0"
OLDER = "v2.1"

INFO = "meta/info.json"
STATISTICS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes"
NUMBERED = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEOS = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
PLACEHOLDERS = {VERSION: ("chunk_index", "file_index"), OLDER: ("episode_chunk", "episode_index")}
"""What a version fills into `data_path` and, with `video_key`, into `video_path`."""
WIDTH = r"(0\dd)?"
"""How a number may be written: as it is, or with zeros in front."""
FILES_IN_A_FOLDER = 1000

STATE = "observation.state"
ACTION = "action"
CAMERAS = "observation.images."
PRIVILEGED = "privileged."
"""Begins the names of columns that no policy is given; LeRobot takes what begins with `observation` for its inputs."""
EPISODE_COLUMNS = (
    "episode_index",
    "tasks",
    "length",
    "data/chunk_index",
    "data/file_index",
    "dataset_from_index",
    "dataset_to_index",
)

IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
"""How Hugging Face datasets store an image: an encoded file's bytes, or a path (which we never write)."""


class Feature(BaseModel):
    """A column of the data files; others' extra keys are allowed, for the format is not ours."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dtype: str
    shape: tuple[int, ...]
    names: list | dict | None = None
    info: dict[str, Any] | None = Field(default=None, exclude_if=lambda info: info is None)
    """Of a video: codec, size, pictures a second, whether it is depth."""

    @property
    def is_camera(self) -> bool:
        """Whether this is a column of colour pictures."""
        return self.dtype in ("image", "video") and not (self.info or {}).get("video.is_depth_map", False)


COUNTERS = {
    "timestamp": Feature(dtype="float32", shape=(1,)),
    "frame_index": Feature(dtype="int64", shape=(1,)),
    "episode_index": Feature(dtype="int64", shape=(1,)),
    "index": Feature(dtype="int64", shape=(1,)),
    "task_index": Feature(dtype="int64", shape=(1,)),
}
"""What every data file says of a frame: seconds and step within the episode, episode, row in the dataset, task."""


class Info(BaseModel):
    """`meta/info.json` of either version; others' extra keys are allowed, and the defaults are LeRobot's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    codebase_version: str
    robot_type: str | None = None
    total_episodes: int
    total_frames: int
    total_tasks: int
    chunks_size: PositiveInt = FILES_IN_A_FOLDER
    data_files_size_in_mb: PositiveInt = 100
    video_files_size_in_mb: PositiveInt = 200
    fps: PositiveInt
    splits: dict[str, str] = {}
    data_path: str = f"data/{NUMBERED}"
    video_path: str | None = None
    features: dict[str, Feature]

    @property
    def cameras(self) -> tuple[str, ...]:
        """The columns of colour pictures."""
        return tuple(name for name, feature in self.features.items() if feature.is_camera)

    @field_validator("data_path", "video_path")
    @classmethod
    def _is_a_template(cls, template: str | None, seen: ValidationInfo) -> str | None:
        allowed = PLACEHOLDERS[seen.data["codebase_version"]]
        names = (*allowed, "video_key") if seen.field_name == "video_path" else allowed
        for _, name, form, conversion in Formatter().parse(template or ""):
            if name is not None and (name not in names or conversion or not re.fullmatch(WIDTH, form or "")):
                written = f"'{name}'" + f" as '{form}'" * bool(form)
                raise ValueError(f"only {' and '.join(names)} may be filled in, not {written}")
        return template


def image_features(camera: str, size: tuple[int, int], names: dict[str, list[str]]) -> dict[str, Feature]:
    """The columns of a dataset whose column `camera` has pictures of `size` (height, width); vectors by their names."""
    vectors = {column: Feature(dtype="float32", shape=(len(n),), names=n) for column, n in names.items()}
    picture = Feature(dtype="image", shape=(*size, 3), names=["height", "width", "channels"])
    return {camera: picture, **vectors, **COUNTERS}


def video_features(features: dict[str, Feature], codec: str, fps: int) -> dict[str, Feature]:
    """The same columns with the pictures in videos, described as LeRobot describes those that it encodes."""

    def described(feature: Feature) -> Feature:
        info = {
            "video.height": feature.shape[0],
            "video.width": feature.shape[1],
            "video.codec": codec,
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
        }
        return feature.model_copy(update={"dtype": "video", "info": info})

    return {name: described(feature) if feature.is_camera else feature for name, feature in features.items()}


def dimension_names(feature: Feature) -> tuple[str, ...]:
    """The names of a vector's dimensions, in whatever nesting they lie; their numbers where there are none that fit."""
    names = tuple(_flat(feature.names))
    return names if len(names) == feature.shape[0] else tuple(map(str, range(feature.shape[0])))


def _flat(names: Any) -> list[str]:
    if isinstance(names, dict):
        names = list(names.values())
    return [text for name in names for text in _flat(name)] if isinstance(names, list) else [str(names)]


def arrow_schema(features: dict[str, Feature]) -> pa.Schema:
    """The data files' schema, with the metadata from which Hugging Face datasets know images and vectors."""
    features = {name: feature for name, feature in features.items() if feature.dtype != "video"}
    fields = [pa.field(name, _arrow_type(feature)) for name, feature in features.items()]
    described = {name: _huggingface_type(feature) for name, feature in features.items()}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": described}})})


def _arrow_type(feature: Feature) -> pa.DataType:
    if feature.dtype == "image":
        return IMAGE
    scalar = pa.type_for_alias(feature.dtype)
    # A vector of one is stored as a scalar.
    return scalar if feature.shape == (1,) else pa.list_(scalar, feature.shape[0])


def _huggingface_type(feature: Feature) -> dict:
    if feature.dtype == "image":
        return {"_type": "Image"}
    scalar = {"dtype": feature.dtype, "_type": "Value"}
    # Known to `datasets` before and after version 4, which calls it List.
    return scalar if feature.shape == (1,) else {"feature": scalar, "length": feature.shape[0], "_type": "Sequence"}


def tasks_table(tasks: list[str]) -> pa.Table:
    """`meta/tasks.parquet`: pandas must find the instruction as the index, so its metadata is written by hand."""
    columns = {"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())}
    described = [
        {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
        {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object"},
    ]
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [
            {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
        ],
        "columns": [{**column, "metadata": None} for column in described],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": None,
    }
    return pa.table(columns).replace_schema_metadata({"pandas": json.dumps(pandas)})
