"""The metadata of a LeRobot v2.1 dataset: JSON lines, one data file and one video an episode.

Source: `lerobot` 0.3.3, src/lerobot/datasets/utils.py and lerobot_dataset.py.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workbench.data.lerobot_layout import ACTION, STATE, STATISTICS, Info
from workbench.data.lerobot_metadata import EpisodeRecord, check_counts, inside, video_file
from workbench.data.lerobot_read import AGAIN, read_json
from workbench.data.lerobot_statistics import aggregated, check_widths, with_quantiles
from workbench.data.lerobot_video import Span
from workbench.data.statistics import Statistics
from workbench.errors import UserError

TASKS = "meta/tasks.jsonl"
EPISODES = "meta/episodes.jsonl"
EPISODE_STATISTICS = "meta/episodes_stats.jsonl"
COUNTS = ("task_index", "episode_index", "length")


def read_tasks(root: Path, info: Info) -> tuple[str, ...]:
    """The instructions by task index."""
    path = root / TASKS
    tasks = {line["task_index"]: line["task"] for line in _lines(path, ("task_index", "task"))}
    if len(tasks) != info.total_tasks or sorted(tasks) != list(range(info.total_tasks)):
        raise UserError(f"{path} does not list each of {info.total_tasks} tasks once with its instruction. {AGAIN}")
    return tuple(str(tasks[index]) for index in range(info.total_tasks))


def read_episodes(root: Path, info: Info, camera: str) -> tuple[EpisodeRecord, ...]:
    """Every episode by index; raises UserError where they are not the ones that `info` counts."""
    lines = _lines(root / EPISODES, ("episode_index", "tasks", "length"))
    lines.sort(key=lambda line: line["episode_index"])
    check_counts(root / EPISODES, [(line["episode_index"], line["length"]) for line in lines], info)
    in_video = info.features[camera].dtype == "video"

    def record(line: dict[str, Any]) -> EpisodeRecord:
        place = {"episode_chunk": line["episode_index"] // info.chunks_size, "episode_index": line["episode_index"]}
        return EpisodeRecord(
            index=line["episode_index"],
            length=line["length"],
            instruction=", then ".join(line["tasks"]),
            file=inside(root, info.data_path.format(**place)),
            video=Span(video_file(root, info, camera, **place), 0.0) if in_video else None,
        )

    return tuple(record(line) for line in lines)


def read_statistics(root: Path, info: Info, files: Iterable[Path]) -> dict[str, Statistics]:
    """Of the state and of the action: the episodes' own, together (or `meta/stats.json`, where datasets converted from
    v2.0 kept only that), and exact quantiles of all frames, which this version does not keep.

    Raises UserError where an episode's are missing or of another width than the feature.
    """
    path = root / EPISODE_STATISTICS
    if path.exists():
        lines = _lines(path, ("episode_index", "stats"))
        found = sorted(line["episode_index"] for line in lines)
        if len(found) != info.total_episodes or found != list(range(len(found))):
            raise UserError(f"{path} does not have each of {info.total_episodes} episodes once. {AGAIN}")
        for line in lines:
            check_widths(path, line["stats"], info)
        records = {name: aggregated([line["stats"][name] for line in lines], name) for name in (STATE, ACTION)}
    else:
        whole = read_json(root / STATISTICS)
        check_widths(root / STATISTICS, whole, info)
        records = {name: {"count": [info.total_frames], **whole[name]} for name in (STATE, ACTION)}
    return with_quantiles(records, info, files)


def _lines(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; raises UserError where a line is none, or lacks a key."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing, so this is no whole LeRobot dataset. {AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON lines: {error}. {AGAIN}") from error
    for number, line in enumerate(lines, start=1):
        missing = [key for key in keys if not isinstance(line, dict) or key not in line]
        if missing:
            raise UserError(f"Line {number} of {path} has no '{missing[0]}'. {AGAIN}")
        wrong = [key for key in keys if key in COUNTS and type(line[key]) is not int]
        if wrong:
            raise UserError(f"Line {number} of {path} has {line[wrong[0]]!r} for '{wrong[0]}'. {AGAIN}")
    return lines
