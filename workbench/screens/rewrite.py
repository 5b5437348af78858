"""What a person sees while a data set is written anew: whole, or in two parts."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from workbench.data.dataset import Dataset
from workbench.data.description import describe
from workbench.data.formats import open_any
from workbench.data.lerobot import open_dataset
from workbench.data.partition import partition
from workbench.data.rewrite import DESCRIPTION, Rewriting, rewrite
from workbench.errors import UserError
from workbench.screens.console import console, stage, told_aside

Format = Literal["terminal", "json"]
PARTS = ("training", "held-out")
"""The folders of a split."""


@dataclass(frozen=True)
class Share:
    """How a data set is split."""

    training: float
    seed: int


def convert_data(path: Path, target: Path, camera: str | None, how: Rewriting, format: Format) -> None:
    """Write a data set of any format as a LeRobot one, and say what it is now."""
    with told_aside(format == "json"):
        dataset = open_any(path, camera)
        _absent(target)
        _write(dataset, target, range(len(dataset.episodes)), how)
        told = _told(target)
    if format == "json":
        print(json.dumps(told, indent=1))
        return
    console.print(_sentence(told), highlight=False, markup=False, soft_wrap=True)
    left = [name for name in dataset.cameras if name != dataset.camera]
    if left:
        console.print(f"Not written: {', '.join(left)}. --camera chooses another one.", markup=False, soft_wrap=True)
    if how.description:
        said = f"The actions are metres, radians and +1 = closed; {target / DESCRIPTION} says so."
        console.print(said, highlight=False, markup=False, soft_wrap=True)


def split_data(path: Path, target: Path, camera: str | None, share: Share, how: Rewriting, *, format: Format) -> None:
    """Write two LeRobot data sets, and say how many episodes each has."""
    with told_aside(format == "json"):
        dataset = open_any(path, camera)
        parts = partition([one.instruction for one in dataset.episodes], share.training, seed=share.seed)
        _absent(target)
        episodes = dict(zip(PARTS, (parts.training, parts.held_out), strict=True))
        with _whole(target) as folder:
            for name, chosen in episodes.items():
                _write(dataset, folder / name, chosen, how)
        told = {name: _told(target / name) | {"episodes_of_source": list(chosen)} for name, chosen in episodes.items()}
    if format == "json":
        print(json.dumps(told, indent=1))
        return
    for part in told.values():
        console.print(_sentence(part), highlight=False, markup=False, soft_wrap=True)


def described(name: str | None, fps: int | None, video: bool) -> Rewriting:
    """How the options say that episodes are written."""
    return Rewriting(describe(name) if name else None, fps, video)


def _absent(target: Path) -> None:
    if target.exists():
        raise UserError(f"{target} exists already. Choose another folder, or delete it first.")


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place in the end, so that it is either absent or whole."""
    partial = target.with_name(f".{target.name}.{uuid4().hex}.partial")
    try:
        yield partial
        partial.rename(target)
    finally:
        if partial.exists():
            shutil.rmtree(partial)


def _write(dataset: Dataset, target: Path, episodes: Sequence[int], how: Rewriting) -> None:
    with stage(target.name, "read, written as LeRobot v3.0") as tell:
        rewrite(dataset, target, episodes, how, tell=tell)


def _told(path: Path) -> dict[str, Any]:
    written = open_dataset(path)
    frames = sum(one.length for one in written.episodes)
    return {"path": str(path), "episodes": len(written.episodes), "frames": frames, "digest": written.digest}


def _sentence(told: dict[str, Any]) -> str:
    return f"{told['episodes']} episodes, {told['frames']} frames, digest {told['digest'][:16]}: {told['path']}"
