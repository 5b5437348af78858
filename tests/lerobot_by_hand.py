"""LeRobot datasets with videos, v2.1 and v3.0, written with plain pyarrow and PyAV: none of the workbench's writer."""

import json
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FPS = 10
LENGTHS = (5, 3, 7)
CAMERAS = ("observation.images.front", "observation.images.wrist")
TASKS = ("reach the red block", "reach the blue block")
HEIGHT, WIDTH = 32, 48
PATHS = {
    "v2.1": {
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "total_chunks": 2,
        "total_videos": 6,
        "chunks_size": 2,
    },
    "v3.0": {
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    },
}


def shade(camera: int, episode: int, step: int) -> int:
    """The grey of a whole picture: another for every frame of every episode and camera."""
    return 20 + 100 * camera + 25 * episode + 5 * step


def vectors(episode: int) -> tuple[np.ndarray, np.ndarray]:
    """State [T, 2] and action [T, 3] of an episode."""
    random = np.random.default_rng(episode)
    steps = LENGTHS[episode]
    return random.normal(size=(steps, 2)).astype(np.float32), random.normal(size=(steps, 3)).astype(np.float32)


def write_video(path: Path, shades: Iterable[int], *, rate: int = FPS, start: int = 0, flags: str = "") -> None:
    """Grey pictures, `rate` a second from picture `start` on, a keyframe every twelve."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": flags} if flags else {}) as container:
        stream = container.add_stream("mpeg4", rate, options={"g": "12", "qmin": "1", "qmax": "2"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for step, grey in enumerate(shades, start=start):
            frame = av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), grey, np.uint8), format="rgb24")
            frame.pts, frame.time_base = step, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_v21(root: Path) -> Path:
    """Three episodes in two chunks, one file each; the cameras in videos."""
    for index in range(len(LENGTHS)):
        place = {"episode_chunk": index // 2, "episode_index": index}
        _parquet(root / PATHS["v2.1"]["data_path"].format(**place), _rows([index]))
        for number, camera in enumerate(CAMERAS):
            path = root / PATHS["v2.1"]["video_path"].format(video_key=camera, **place)
            write_video(path, [shade(number, index, step) for step in range(LENGTHS[index])])
    _json(root / "meta/info.json", _info("v2.1"))
    _lines(root / "meta/tasks.jsonl", [{"task_index": i, "task": task} for i, task in enumerate(TASKS)])
    episodes = [{"episode_index": i, "tasks": [TASKS[i % 2]], "length": n} for i, n in enumerate(LENGTHS)]
    _lines(root / "meta/episodes.jsonl", episodes)
    stats = [{"episode_index": i, "stats": statistics([i], quantiles=False)} for i in range(len(LENGTHS))]
    _lines(root / "meta/episodes_stats.jsonl", stats)
    return root


def write_v30(root: Path) -> Path:
    """Three episodes in one data file; per camera the first two in one video and the last in another."""
    _parquet(root / "data/chunk-000/file-000.parquet", _rows(range(len(LENGTHS))))
    for number, camera in enumerate(CAMERAS):
        for file, held in enumerate(((0, 1), (2,))):
            shades = [shade(number, index, step) for index in held for step in range(LENGTHS[index])]
            write_video(root / f"videos/{camera}/chunk-000/file-{file:03d}.mp4", shades)
    _json(root / "meta/info.json", _info("v3.0"))
    _json(root / "meta/stats.json", statistics(range(len(LENGTHS)), quantiles=True))
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    pq.write_table(pa.table({"task_index": [0, 1], "__index_level_0__": list(TASKS)}), root / "meta/tasks.parquet")
    ends = np.cumsum(LENGTHS).tolist()
    rows = []
    for index, length in enumerate(LENGTHS):
        row = {"episode_index": index, "tasks": [TASKS[index % 2]], "length": length}
        row |= {"data/chunk_index": 0, "data/file_index": 0}
        row |= {"dataset_from_index": ends[index] - length, "dataset_to_index": ends[index]}
        begin = (0.0, LENGTHS[0] / FPS, 0.0)[index]
        place = {
            "chunk_index": 0,
            "file_index": index // 2,
            "from_timestamp": begin,
            "to_timestamp": begin + length / FPS,
        }
        rows.append(row | {f"videos/{camera}/{name}": value for camera in CAMERAS for name, value in place.items()})
    pq.write_table(pa.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    return root


def statistics(episodes: Iterable[int], *, quantiles: bool) -> dict[str, dict[str, list]]:
    """Plain NumPy's of these episodes' state and action."""
    result = {}
    for place, name in enumerate(("observation.state", "action")):
        values = np.concatenate([vectors(index)[place] for index in episodes]).astype(np.float64)
        record = {"mean": values.mean(0), "std": values.std(0), "min": values.min(0), "max": values.max(0)}
        if quantiles:
            record |= {f"q{q:02d}": np.quantile(values, q / 100, axis=0) for q in (1, 10, 50, 90, 99)}
        result[name] = {key: value.tolist() for key, value in record.items()} | {"count": [len(values)]}
    return result


def _rows(episodes: Iterable[int]) -> pa.Table:
    columns: dict[str, list] = {}
    for index in episodes:
        state, action = vectors(index)
        for step in range(LENGTHS[index]):
            row = {"observation.state": state[step].tolist(), "action": action[step].tolist()}
            row |= {"timestamp": step / FPS, "frame_index": step, "episode_index": index}
            row |= {"index": sum(LENGTHS[:index]) + step, "task_index": index % 2}
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
    floats = {"observation.state": pa.list_(pa.float32()), "action": pa.list_(pa.float32()), "timestamp": pa.float32()}
    return pa.table({name: pa.array(values, floats.get(name, pa.int64())) for name, values in columns.items()})


def _info(version: str) -> dict:
    picture = {"dtype": "video", "shape": [HEIGHT, WIDTH, 3], "names": ["height", "width", "channel"]}
    counter = {"dtype": "int64", "shape": [1], "names": None}
    counters = ("frame_index", "episode_index", "index", "task_index")
    features = {
        **{camera: picture | {"info": {"video.fps": float(FPS), "video.is_depth_map": False}} for camera in CAMERAS},
        "observation.images.depth": picture | {"info": {"video.is_depth_map": True}},
        "observation.state": {"dtype": "float32", "shape": [2], "names": {"motors": ["tip", "grip"]}},
        "action": {"dtype": "float32", "shape": [3], "names": {"motors": ["x", "y", "gripper"]}},
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
        **dict.fromkeys(counters, counter),
    }
    counts = {"total_episodes": len(LENGTHS), "total_frames": sum(LENGTHS), "total_tasks": 2, "fps": FPS}
    return {"codebase_version": version, "robot_type": "hand", **counts, **PATHS[version], "features": features}


def _parquet(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _lines(path: Path, values: list[dict]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
