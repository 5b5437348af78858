"""Episodes of any format written anew as a LeRobot v3.0 data set, their actions as stored or converted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from workbench.data.contract import Episode, Frames
from workbench.data.conversion import HOUSE_NAMES, house, to_policy_actions
from workbench.data.dataset import Dataset
from workbench.data.depth import depth_maps, depth_of, extra_names
from workbench.data.description import Description, to_toml
from workbench.data.lerobot import LerobotDataset
from workbench.data.lerobot_layout import CAMERAS
from workbench.data.lerobot_write import write_dataset
from workbench.errors import UserError

DESCRIPTION = "meta/description.toml"
"""Says, in a data set with converted actions, what they mean now."""


@dataclass(frozen=True)
class Rewriting:
    """How episodes are written anew."""

    description: Description | None = None
    """With one, actions become those of the house's convention; without, they stay as they are stored."""
    fps: int | None = None
    """Pictures a second, where neither the data nor the description say it."""
    video: bool = False
    """Pictures as a video, which loses some of what they show, instead of as images, which loses nothing."""


def rewrite(
    dataset: Dataset,
    root: Path,
    episodes: Sequence[int],
    how: Rewriting,
    *,
    tell: Callable[[float, float], None] | None = None,
) -> Path:
    """Write these episodes, in this order and with the pictures of `dataset.camera`, to the new folder `root`.

    One episode is in memory at a time, beside what `write_dataset` holds. Raises UserError as reading, converting and
    writing do, and where the pictures a second are unknown or no whole number.
    """
    fps = _rate(dataset, how)
    if how.description:
        house(how.description)  # refuses at once what cannot be converted
    depth = depth_of(dataset, how.description) if how.description else None
    frames = (dataset.frames([index]) for index in episodes)
    first = next(frames)

    def written() -> Iterator[Episode]:
        for done, (index, one) in enumerate(zip(episodes, chain([first], frames), strict=True)):
            known = depth_maps(dataset, index, depth) if depth else {}
            yield _episode(one, dataset.episodes[index].instruction, how.description, known)
            if tell:
                tell(done + 1, len(episodes))

    write_dataset(
        root,
        written(),
        fps=fps,
        robot_type=_robot(dataset, how.description),
        camera=dataset.camera.removeprefix(CAMERAS),
        action_names=HOUSE_NAMES if how.description else dataset.action_names,
        state_names=dataset.state_names,
        extra_names={**first.extra_names, **(extra_names(depth_maps(dataset, episodes[0], depth)) if depth else {})},
        video=how.video,
    )
    if how.description:
        (root / DESCRIPTION).write_text(to_toml(house(how.description)), encoding="utf-8")
    return root


def _episode(
    frames: Frames, instruction: str, description: Description | None, known: Mapping[str, np.ndarray]
) -> Episode:
    action = to_policy_actions(frames.action, description) if description else frames.action
    return Episode(frames.image, frames.state, action, instruction, {**frames.extra, **known})


def _robot(dataset: Dataset, description: Description | None) -> str:
    if description:
        return description.robot
    return (dataset.info.robot_type if isinstance(dataset, LerobotDataset) else None) or "unknown"


def _rate(dataset: Dataset, how: Rewriting) -> int:
    told = how.fps or dataset.fps or (how.description.fps if how.description else None)
    if told is None:
        raise UserError(f"How many pictures a second {dataset.root} has is not stored in it. Say it with --fps.")
    if how.fps and dataset.fps and how.fps != dataset.fps:
        raise UserError(f"{dataset.root} has {dataset.fps:g} pictures a second, not {how.fps}. Leave --fps out.")
    if told != round(told):
        raise UserError(f"LeRobot's format has whole pictures a second, not {told:g}. Say how many with --fps.")
    return round(told)
