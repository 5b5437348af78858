"""The metadata of a LeRobot v3.0 dataset, read and checked against its data files; `info.json` of v2.1 too."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from workbench.data.dataset import EpisodeFacts
from workbench.data.lerobot_layout import (
    ACTION,
    COUNTERS,
    EPISODE_COLUMNS,
    EPISODES,
    INFO,
    OLDER,
    STATE,
    TASKS,
    VERSION,
    Info,
)
from workbench.data.lerobot_read import AGAIN, parquet_file, read_json, read_table
from workbench.data.lerobot_video import Span
from workbench.errors import UserError, unknown


@dataclass(frozen=True)
class EpisodeRecord(EpisodeFacts):
    """What the metadata says of an episode. Of several instructions, should it change on the way, all are joined;
    `Frames.task_index` has every frame's."""

    file: Path
    """The data file that holds it."""
    video: Span | None
    """Where the chosen camera's pictures are; None where they are in the data file."""


def read_info(root: Path) -> Info:
    """`meta/info.json`; raises UserError for another version of the format or a missing column."""
    path = root / INFO
    raw = read_json(path)
    version = raw.get("codebase_version")
    if version not in (VERSION, OLDER):
        raise UserError(
            f"{root} has LeRobot's format {version}, and {VERSION} or {OLDER} is needed. LeRobot has a script that "
            "converts it."
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


def chosen_camera(root: Path, info: Info, name: str | None) -> str:
    """The column of that name, or the only one; raises UserError where there is no such column, or several."""
    cameras = info.cameras
    if name is not None:
        if name not in cameras:
            raise unknown("camera", name, cameras)
        return name
    if len(cameras) != 1:
        raise UserError(
            f"{root} has {len(cameras)} cameras{': ' if cameras else ''}{', '.join(cameras)}. "
            + ("Name the one to read." if cameras else "Demonstrations without pictures are not read.")
        )
    return cameras[0]


def read_tasks(root: Path, info: Info) -> tuple[str, ...]:
    """The instructions by task index. They are the table's index in pandas, so the column's name varies."""
    path = root / TASKS
    names = parquet_file(path, ["task_index"]).schema.to_arrow_schema().names
    table = read_table(path, names).to_pydict()
    texts = [values for name, values in table.items() if name != "task_index"]
    tasks = dict(zip(table["task_index"], texts[0], strict=True)) if len(texts) == 1 else {}
    if len(tasks) != info.total_tasks or sorted(tasks) != list(range(info.total_tasks)):
        raise UserError(f"{path} does not list each of {info.total_tasks} tasks once with its instruction. {AGAIN}")
    return tuple(str(tasks[index]) for index in range(info.total_tasks))


def read_episodes(root: Path, info: Info, camera: str) -> tuple[EpisodeRecord, ...]:
    """Every episode by index; raises UserError where they are not the ones that `info` counts."""
    in_video = info.features[camera].dtype == "video"
    video = {name: f"videos/{camera}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")}
    columns = [*EPISODE_COLUMNS, *(video.values() if in_video else ())]
    rows = [
        row for path in sorted((root / EPISODES).glob("*/*.parquet")) for row in read_table(path, columns).to_pylist()
    ]
    rows.sort(key=lambda row: row["episode_index"])
    check_counts(root / EPISODES, [(row["episode_index"], row["length"]) for row in rows], info)

    def span(row: dict) -> Span | None:
        if not in_video:
            return None
        chunk, file, start = (row[column] for column in video.values())
        return Span(video_file(root, info, camera, chunk_index=chunk, file_index=file), start)

    return tuple(
        EpisodeRecord(
            index=row["episode_index"],
            length=row["length"],
            instruction=", then ".join(row["tasks"]),
            file=inside(
                root, info.data_path.format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
            ),
            video=span(row),
        )
        for row in rows
    )


def check_counts(path: Path, episodes: Sequence[tuple[int, int]], info: Info) -> None:
    """Raises UserError where these indices and lengths are not the episodes that `info` counts."""
    frames = sum(length for _, length in episodes)
    found = (len(episodes), frames)
    if found != (info.total_episodes, info.total_frames) or [i for i, _ in episodes] != list(range(len(episodes))):
        raise UserError(
            f"{path} describes {len(episodes)} episodes with {frames} frames, but {INFO} says "
            f"{info.total_episodes} with {info.total_frames}. {AGAIN}"
        )
    empty = [index for index, length in episodes if length < 1]
    if empty:
        raise UserError(f"{path} has an episode without frames: {empty[0]}. {AGAIN}")


def inside(root: Path, place: str) -> Path:
    """A file of the dataset; raises UserError for a place outside its folder. Links within it are followed."""
    if Path(place).is_absolute() or ".." in Path(place).parts:
        raise UserError(f"{root / INFO} names the file {place}, which is not within {root}: it is not read.")
    return root / place


def video_file(root: Path, info: Info, camera: str, **place: int) -> Path:
    """Where a video lies; raises UserError where there is none."""
    if info.video_path is None:
        raise UserError(f"{root / INFO} has videos of '{camera}', but no video_path that says where. {AGAIN}")
    path = inside(root, info.video_path.format(video_key=camera, **place))
    if not path.is_file():
        raise UserError(f"{path} is missing, though the dataset's metadata name it. {AGAIN}")
    return path


def check_data_files(records: Sequence[EpisodeRecord], info: Info) -> None:
    """Every data file is whole, has every column, and as many rows as its episodes have frames."""
    columns = [name for name, feature in info.features.items() if feature.dtype != "video"]
    promised: dict[Path, int] = defaultdict(int)
    for record in records:
        promised[record.file] += record.length
    for path, rows in promised.items():
        found = parquet_file(path, columns).num_rows
        if found != rows:
            raise UserError(f"{path} has {found} rows, but its episodes have {rows} frames. {AGAIN}")
