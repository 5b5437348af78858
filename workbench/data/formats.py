"""One door to every format: what lies at a path says which it is."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from os.path import exists
from pathlib import Path

from workbench.data import calvin, episodes_folder, hdf5, lerobot, libero, rlds, robomimic
from workbench.data.dataset import Dataset
from workbench.errors import UserError

SHOWN = 8
"""Names of what was found that a message lists."""


@dataclass(frozen=True)
class Format:
    """A row of the table: how a format is recognised, and opened."""

    name: str
    lies: str
    """What is there, in words."""
    recognised: Callable[[Path], bool]
    """Looks at names, and at most into one small file or one header."""
    opens: Callable[[Path, str | None], Dataset]


def open_any(path: Path, camera: str | None = None) -> Dataset:
    """Open a data set of any format; `camera` is the one whose pictures are read, the format's first if not said.

    Raises UserError where nothing, nothing known or more than one thing known is there, and as the format's own
    function does.
    """
    if not exists(path):  # False also of a name that no file can have
        raise UserError(f"There is nothing at {path}. Give the folder or file of a data set.")
    fitting = [row for row in FORMATS if row.recognised(path)]
    if len(fitting) > 1:
        raise UserError(
            f"{path} looks like {' and '.join(row.name for row in fitting)} at once. Move one of them elsewhere."
        )
    if not fitting:
        known = "; ".join(f"{row.name}: {row.lies}" for row in FORMATS)
        raise UserError(f"{path} is no data set of a known format. Found: {_found(path)}. Known are {known}.")
    return fitting[0].opens(path, camera)


def _found(path: Path) -> str:
    if not path.is_dir():
        return f"a file {path.name}"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in path.iterdir())
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more if names else "an empty folder"


def _is_lerobot(path: Path) -> bool:
    info = path / "meta" / "info.json"
    if not info.is_file():
        return False
    try:
        value = json.loads(info.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return True  # Its own reader says what is damaged.
    return isinstance(value, dict) and "codebase_version" in value


def _is_libero(path: Path) -> bool:
    files = [path] if path.is_file() else sorted(path.glob("*"))
    return libero.MARK in _attributes([file for file in files if file.suffix in hdf5.SUFFIXES])


def _is_robomimic(path: Path) -> bool:
    texts = _attributes([path]) if path.is_file() and path.suffix in hdf5.SUFFIXES else {}
    return robomimic.MARK in texts and libero.MARK not in texts


def _attributes(files: list[Path]) -> dict[str, str]:
    """Those of the first file."""
    if not files:
        return {}
    with hdf5.opened(files[0]) as file:
        return hdf5.attributes(file, files[0])


def _is_calvin(path: Path) -> bool:
    return any((path / split / calvin.RECORDINGS).is_file() for split in (".", "training"))


def _is_rlds(path: Path) -> bool:
    return (path / "features.json").is_file() and any(path.glob("*.tfrecord*"))


def _is_folder(path: Path) -> bool:
    return bool(episodes_folder.episode_folders(path))


FORMATS = (
    Format("LeRobot", "meta/info.json with a codebase_version", _is_lerobot, lerobot.open_dataset),
    Format("LIBERO HDF5", "a .hdf5 file, or a folder of them, with problem_info", _is_libero, libero.open_libero),
    Format("robomimic HDF5", "a .hdf5 file with env_args", _is_robomimic, robomimic.open_robomimic),
    Format("CALVIN", "ep_start_end_ids.npy, in a split or in its folder training/", _is_calvin, calvin.open_calvin),
    Format("RLDS", "features.json and *.tfrecord* files", _is_rlds, rlds.open_rlds),
    Format("a folder of episodes", "folders episode_000/, episode_001/, …", _is_folder, episodes_folder.open_folder),
)
"""In the order in which messages list them."""
