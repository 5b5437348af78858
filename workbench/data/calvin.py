"""CALVIN: play data of one step a file, of which annotated segments are the episodes.

Sources in mees/calvin: dataset/README.md (keys, shapes, signs); under calvin_models/calvin_agent/:
datasets/disk_dataset.py (the layout, `ep_start_end_ids.npy`), utils/automatic_lang_annotator_mp.py (the annotations).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.data.computed import ComputedDataset, Header, Stored, checked_picture, choose_camera
from workbench.data.dataset import EpisodeFacts
from workbench.data.numpy_files import member_names, read_array, read_members
from workbench.data.pickled import PickledArray, read_pickled_array
from workbench.errors import UserError

RECORDINGS = "ep_start_end_ids.npy"
ANNOTATIONS = "lang_annotations/auto_lang_ann.npy"
CAMERAS = ("rgb_static", "rgb_gripper")
STATE, ACTION = "robot_obs", "rel_actions"
STATE_NAMES = (
    *(f"tcp.{axis}" for axis in "xyz"),
    *(f"tcp.euler_{axis}" for axis in "xyz"),
    "gripper_width",
    *(f"joint.{joint}" for joint in range(7)),
    "gripper",
)
"""Metres and radians in the world's frame; the last is the gripper's last action, −1 closed, +1 open."""
ACTION_NAMES = ("x", "y", "z", "euler.x", "euler.y", "euler.z", "gripper")
"""Relative in the world's frame, positions times 50 and angles times 20, in [−1, 1]; gripper −1 closes, +1 opens."""
FPS = 30.0
"""Not in the steps' files; `control_freq` of mees/calvin_env, calvin_env/envs/play_table_env.py."""


@dataclass(frozen=True)
class Segment:
    """What was annotated: frames `start` to `end` of the split, both of them part of it."""

    start: int
    end: int
    instruction: str
    task: str
    """The name of one of CALVIN's 34 tasks."""


class CalvinDataset(ComputedDataset):
    """Episodes in the order of the annotations. Segments may overlap: a frame may be part of several episodes."""

    segments: tuple[Segment, ...]

    def __init__(self, header: Header, segments: Sequence[Segment]) -> None:
        self.segments = tuple(segments)
        super().__init__(header)

    def key(self, index: int) -> str:
        segment = self.segments[index]
        return f"{_name(segment.start)} to {_name(segment.end)}"

    def stored(self, index: int) -> Stored:
        length = self.episodes[index].length
        steps = [read_members(self._file(index, frame), [STATE, ACTION]) for frame in range(length)]
        return Stored(
            state=_stacked([state for state, _ in steps], len(STATE_NAMES), f"'{STATE}' of {self.key(index)}"),
            action=_stacked([action for _, action in steps], len(ACTION_NAMES), f"'{ACTION}' of {self.key(index)}"),
        )

    def pictures(self, index: int, frames: Sequence[int]) -> list[np.ndarray]:
        files = [self._file(index, frame) for frame in frames]
        return [checked_picture(read_members(file, [self.camera])[0], f"'{self.camera}' of {file}") for file in files]

    def _file(self, index: int, frame: int) -> Path:
        return self.root / _name(self.segments[index].start + frame)


def open_calvin(root: Path, camera: str | None = None) -> CalvinDataset:
    """Open a split (`…/training`, `…/validation`), or of a data set's folder its `training`.

    `camera` is rgb_static if nothing is said. Every step of every segment is opened once for its vectors: minutes for a
    whole split. Raises UserError, which names file and frame, where something is missing or damaged, and for
    annotations whose pickle holds anything but data (it is not run).
    """
    split = root if (root / RECORDINGS).is_file() else root / "training"
    if not (split / RECORDINGS).is_file():
        raise UserError(f"Neither {root} nor {split} is a split of CALVIN: there is no {RECORDINGS}.")
    segments = _segments(split / ANNOTATIONS)
    _check_recordings(segments, split)
    present = member_names(split / _name(segments[0].start))
    cameras = tuple(name for name in CAMERAS if name in present)
    header = Header(
        root=split,
        format="CALVIN",
        cameras=cameras,
        camera=choose_camera(camera, cameras, split),
        fps=FPS,
        state_names=STATE_NAMES,
        action_names=ACTION_NAMES,
        episodes=tuple(
            EpisodeFacts(index, segment.end - segment.start + 1, segment.instruction)
            for index, segment in enumerate(segments)
        ),
    )
    return CalvinDataset(header, segments)


def _segments(path: Path) -> list[Segment]:
    record = read_pickled_array(path).entries()
    spans = [_entries(span) for span in _entries(_field(record, "info", "indx", path))]
    texts = [_entries(_field(record, "language", name, path)) for name in ("ann", "task")]
    if not spans or any(len(column) != len(spans) for column in texts):
        raise UserError(
            f"{path} has {len(spans)} segments, {len(texts[0])} instructions and {len(texts[1])} tasks; it needs as "
            "many of each, and at least one."
        )
    return [_segment(span, ann, task, path) for span, ann, task in zip(spans, *texts, strict=True)]


def _segment(span: list, instruction: object, task: object, path: Path) -> Segment:
    numbers = len(span) == 2 and all(isinstance(frame, int) for frame in span)
    if not numbers or not 0 <= span[0] <= span[1] or not isinstance(instruction, str) or not isinstance(task, str):
        raise UserError(
            f"{path} has a segment {span} with the instruction {instruction!r} and the task {task!r}; first "
            "frame, last frame and two texts are needed."
        )
    return Segment(start=span[0], end=span[1], instruction=instruction.strip(), task=task)


def _field(record: list, outer: str, inner: str, path: Path) -> object:
    value: object = record[0] if len(record) == 1 else None
    for name in (outer, inner):
        if not isinstance(value, dict) or name not in value:
            raise UserError(f"{path} has no {outer} → {inner}, so these are no annotations of CALVIN's.")
        value = value[name]
    return value


def _entries(value: object) -> list:
    if isinstance(value, PickledArray):
        return value.entries()
    return list(value) if isinstance(value, list | tuple) else []


def _check_recordings(segments: Sequence[Segment], split: Path) -> None:
    """Raises UserError for a segment that is not within one recording: on the way the robot would jump."""
    bounds = read_array(split / RECORDINGS)
    if bounds.ndim != 2 or bounds.shape[1] != 2 or bounds.dtype.kind not in "iu":
        raise UserError(f"{split / RECORDINGS} is {bounds.dtype} {list(bounds.shape)}; integers [M, 2] are needed.")
    for segment in segments:
        if not ((bounds[:, 0] <= segment.start) & (segment.end <= bounds[:, 1])).any():
            raise UserError(
                f"The segment {segment.start} to {segment.end} ('{segment.instruction}') of {split} is not within one "
                f"recording of {RECORDINGS}. Download the annotations that belong to the split."
            )


def _stacked(rows: Sequence[np.ndarray], width: int, what: str) -> np.ndarray:
    for frame, row in enumerate(rows):
        if row.shape != (width,):
            raise UserError(f"{what} is {row.dtype} {list(row.shape)} at frame {frame}; {width} numbers are needed.")
    return np.stack(rows)


def _name(frame: int) -> str:
    return f"episode_{frame:07d}.npz"
