"""The metadata of a LeRobot v3.0 dataset, read and checked against its data files."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from workbench.data.lerobot_layout import (
    ACTION,
    COUNTERS,
    EPISODE_COLUMNS,
    EPISODES,
    INFO,
    STATE,
    STATISTICS,
    TASKS,
    VERSION,
    Info,
)
from workbench.data.lerobot_read import AGAIN, parquet_file, read_json, read_table
from workbench.data.statistics import Statistics
from workbench.errors import UserError


@dataclass(frozen=True)
class EpisodeRecord:
    """What the metadata says of an episode."""

    index: int
    length: int
    """Frames."""
    instruction: str
    """Several joined, should it change on the way; `Frames.task_index` has every frame's."""
    file: Path
    """The data file that holds it."""


def read_info(root: Path) -> Info:
    """`meta/info.json`; raises UserError for another version of the format or a missing column."""
    path = root / INFO
    raw = read_json(path)
    version = raw.get("codebase_version")
    if version != VERSION:
        raise UserError(
            f"{root} has LeRobot's format {version}, and {VERSION} is needed. LeRobot has a script that converts it."
        )
    try:
        info = Info.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}. {AGAIN}") from error
    for name in (STATE, ACTION, *COUNTERS):
        if name not in info.features:
            raise UserError(f"{root} has no column '{name}'. It has: {', '.join(info.features)}.")
        if len(info.features[name].shape) != 1:
            raise UserError(f"Column '{name}' of {root} has shape {info.features[name].shape}; a vector is needed.")
    return info


def camera_column(root: Path, info: Info) -> str:
    """The one column of images; raises UserError for video mode, or where there is not exactly one."""
    videos = [name for name, feature in info.features.items() if feature.dtype == "video"]
    if videos:
        raise UserError(f"{root} stores {', '.join(videos)} as video, and only image mode is read for now.")
    cameras = [name for name, feature in info.features.items() if feature.dtype == "image"]
    if len(cameras) != 1:
        raise UserError(f"{root} has {len(cameras)} image columns ({', '.join(cameras)}); exactly one is read for now.")
    return cameras[0]


def read_tasks(root: Path, info: Info) -> tuple[str, ...]:
    """The instructions by task index. They are the table's index in pandas, so the column's name varies."""
    path = root / TASKS
    names = parquet_file(path, ["task_index"]).schema.to_arrow_schema().names
    table = read_table(path, names).to_pydict()
    texts = [values for name, values in table.items() if name != "task_index"]
    tasks = dict(zip(table["task_index"], texts[0], strict=True)) if len(texts) == 1 else {}
    if sorted(tasks) != list(range(info.total_tasks)):
        raise UserError(f"{path} does not list each of {info.total_tasks} tasks once with its instruction. {AGAIN}")
    return tuple(str(tasks[index]) for index in range(info.total_tasks))


def read_episodes(root: Path, info: Info) -> tuple[EpisodeRecord, ...]:
    """Every episode by index; raises UserError where they are not the ones that `info` counts."""
    rows = [
        row
        for path in sorted((root / EPISODES).glob("*/*.parquet"))
        for row in read_table(path, EPISODE_COLUMNS).to_pylist()
    ]
    rows.sort(key=lambda row: row["episode_index"])
    frames = sum(row["length"] for row in rows)
    if [row["episode_index"] for row in rows] != list(range(info.total_episodes)) or frames != info.total_frames:
        raise UserError(
            f"{root / EPISODES} describes {len(rows)} episodes with {frames} frames, but {INFO} says "
            f"{info.total_episodes} with {info.total_frames}. {AGAIN}"
        )
    return tuple(
        EpisodeRecord(
            index=row["episode_index"],
            length=row["length"],
            instruction=", then ".join(row["tasks"]),
            file=root / info.data_path.format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]),
        )
        for row in rows
    )


def check_data_files(records: Sequence[EpisodeRecord], info: Info) -> None:
    """Every data file is whole, has every column, and as many rows as its episodes have frames."""
    promised: dict[Path, int] = defaultdict(int)
    for record in records:
        promised[record.file] += record.length
    for path, rows in promised.items():
        found = parquet_file(path, info.features).num_rows
        if found != rows:
            raise UserError(f"{path} has {found} rows, but its episodes have {rows} frames. {AGAIN}")


def read_statistics(root: Path, info: Info) -> dict[str, Statistics]:
    """By feature; raises UserError where a figure, or the state's or the action's, are missing or of another width."""
    records = read_json(root / STATISTICS)
    statistics = {feature: Statistics.from_json(record, feature) for feature, record in records.items()}
    for feature in (STATE, ACTION):
        width = info.features[feature].shape
        if feature not in statistics or statistics[feature].mean.shape != width:
            raise UserError(
                f"{root / STATISTICS} has no statistics of '{feature}' for its {width[0]} dimensions. {AGAIN}"
            )
    return statistics
