"""Demonstrations in HDF5 as robosuite's tools lay them out: `data/demo_N/{actions, obs/…}`, LIBERO's and robomimic's.

Source: ARISE-Initiative/robomimic, docs/datasets/overview.md ("Dataset Structure"). Files are opened for every reading
and closed behind it, so that none stays open, and a data set can be handed to another process.
"""

# T steps of one episode  D values of a column

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench.errors import UserError

if TYPE_CHECKING:
    import h5py

SUFFIXES = (".hdf5", ".h5")
AGAIN = "Download or write the file again."


@dataclass(frozen=True)
class Demonstration:
    """One `demo_N` of a file."""

    path: Path
    name: str
    length: int
    """Actions."""

    def __str__(self) -> str:
        return f"{self.name} of {self.path}"


@contextmanager
def opened(path: Path) -> Iterator["h5py.File"]:
    """The file, for reading. Raises UserError where h5py is missing, and where the file is damaged."""
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"{path} is read with h5py: pip install 'vla-workbench[hdf5]'") from error
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(f"{path} is no whole HDF5 file ({_first_line(error)}). {AGAIN}") from error


def demonstrations(file: "h5py.File", path: Path) -> tuple[Demonstration, ...]:
    """By number. Raises UserError where there is none, or one is not as long as it says."""
    group = _group(file, "data", path)
    names = [name for name in map(str, group) if re.fullmatch(r"demo_\d+", name)]
    if not names:
        raise UserError(f"{path} has no demonstration data/demo_0, data/demo_1, … It has: {', '.join(group) or '-'}.")
    found = []
    for name in sorted(names, key=lambda name: int(name.removeprefix("demo_"))):
        actions = _array(file, f"data/{name}/actions", path)
        length = actions.shape[0] if actions.shape else 0
        promised = _group(file, f"data/{name}", path).attrs.get("num_samples", length)
        if length == 0 or promised != length:
            raise UserError(
                f"{name} of {path} has {length} actions; its attribute num_samples says {promised}. {AGAIN}"
            )
        found.append(Demonstration(path=path, name=name, length=length))
    return tuple(found)


def observed(file: "h5py.File", demonstration: Demonstration) -> tuple[str, ...]:
    """The names of what was observed, in alphabetical order."""
    return tuple(sorted(_group(file, f"data/{demonstration.name}/obs", demonstration.path)))


def matrix(file: "h5py.File", demonstration: Demonstration, keys: Sequence[str]) -> np.ndarray:
    """[T, D] columns of the demonstration side by side. Raises UserError where one has not T rows."""
    columns = []
    for key in keys:
        array = _array(file, f"data/{demonstration.name}/{key}", demonstration.path)
        if array.ndim != 2 or array.shape[0] != demonstration.length or array.dtype.kind not in "fiu":
            raise UserError(
                f"'{key}' in {demonstration} is {array.dtype} {list(array.shape)}; numbers [{demonstration.length}, D] "
                f"are needed. {AGAIN}"
            )
        columns.append(array[()])
    return np.concatenate(columns, axis=1)


def pictures(file: "h5py.File", demonstration: Demonstration, camera: str, frames: Sequence[int]) -> list[np.ndarray]:
    """uint8 [H, W, 3] each, as stored. Raises UserError that names a frame that cannot be read."""
    array = _array(file, f"data/{demonstration.name}/obs/{camera}", demonstration.path)
    if array.ndim != 4 or array.shape[0] != demonstration.length or array.shape[3] != 3 or array.dtype != np.uint8:
        raise UserError(
            f"'{camera}' in {demonstration} is {array.dtype} {list(array.shape)}; pictures are uint8 "
            f"[{demonstration.length}, H, W, 3]. {AGAIN}"
        )
    read = []
    for frame in frames:
        try:
            read.append(array[frame])
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"Frame {frame} of '{camera}' in {demonstration} is damaged ({_first_line(error)}). {AGAIN}"
            ) from error
    return read


def depth_pictures(file: "h5py.File", demonstration: Demonstration, column: str) -> np.ndarray | None:
    """[T, H, W] numbers as stored; None where nothing of that name was observed. Raises UserError for another shape."""
    if column not in observed(file, demonstration):
        return None
    array = _array(file, f"data/{demonstration.name}/obs/{column}", demonstration.path)
    if array.shape[:1] != (demonstration.length,) or array.ndim not in (3, 4) or array.shape[3:] not in ((), (1,)):
        raise UserError(
            f"'{column}' in {demonstration} is {array.dtype} {list(array.shape)}; depth pictures are "
            f"[{demonstration.length}, H, W] or [{demonstration.length}, H, W, 1]. {AGAIN}"
        )
    if array.dtype.kind not in "fiu":
        raise UserError(f"'{column}' in {demonstration} is {array.dtype}; depth is numbers. {AGAIN}")
    return array[()].reshape(array.shape[:3])


def filter_keys(file: "h5py.File", path: Path) -> dict[str, list[str]]:
    """Names of demonstrations by the name of the list under `mask`; none where there is no such group."""
    import h5py

    group = _own(file, "mask", path)
    if not isinstance(group, h5py.Group):
        return {}
    listed = {str(name): np.asarray(_array(file, f"mask/{name}", path)) for name in group}
    return {name: [entry.decode() for entry in names.astype("S").ravel().tolist()] for name, names in listed.items()}


def attributes(file: "h5py.File", path: Path) -> dict[str, str]:
    """The texts among the attributes of `data`."""
    found = {}
    for name, value in _group(file, "data", path).attrs.items():
        if isinstance(value, bytes):
            found[name] = value.decode(errors="replace")
        elif isinstance(value, str):
            found[name] = value
    return found


def json_attribute(texts: dict[str, str], name: str, path: Path) -> dict:
    """An attribute that holds a JSON object; raises UserError where it is missing or no such thing."""
    if name not in texts:
        raise UserError(f"'data' of {path} has no attribute {name}. It has: {', '.join(sorted(texts)) or '-'}.")
    try:
        value = json.loads(texts[name])
    except (ValueError, RecursionError) as error:
        raise UserError(f"The attribute {name} of {path} is not JSON: {error}. {AGAIN}") from error
    if not isinstance(value, dict):
        raise UserError(f"The attribute {name} of {path} is a {type(value).__name__}, not an object. {AGAIN}")
    return value


def control_frequency(environment: dict) -> float | None:
    """Actions a second, out of robosuite's `env_args`; None where they do not say."""
    settings = environment.get("env_kwargs")
    frequency = settings.get("control_freq") if isinstance(settings, dict) else None
    return float(frequency) if isinstance(frequency, int | float) and frequency > 0 else None


def _group(file: "h5py.File", name: str, path: Path) -> "h5py.Group":
    import h5py

    found = _own(file, name, path)
    if not isinstance(found, h5py.Group):
        raise UserError(f"{path} has no group '{name}'. It has: {', '.join(file) or '-'}. {AGAIN}")
    return found


def _array(file: "h5py.File", name: str, path: Path) -> "h5py.Dataset":
    import h5py

    found = _own(file, name, path)
    if not isinstance(found, h5py.Dataset):
        beside = _own(file, name.rpartition("/")[0], path)
        present = ", ".join(beside) if isinstance(beside, h5py.Group) else "nothing"
        raise UserError(f"{path} has no '{name}'. There is: {present or 'nothing'}. {AGAIN}")
    if found.external or found.is_virtual:
        raise UserError(f"'{name}' of {path} lies in another file, which is not read: copy the numbers into this one.")
    return found


def _own(file: "h5py.File", name: str, path: Path) -> object:
    """What the file itself has under this name, or None. Raises UserError for a link, which may lead anywhere."""
    import h5py

    here: object = file
    for part in name.split("/"):
        if not isinstance(here, h5py.Group):
            return None
        kind = here.get(part, getclass=True, getlink=True)
        if kind not in (None, h5py.HardLink):
            raise UserError(
                f"'{name}' of {path} is a link, which is not followed: copy what it stands for into the file."
            )
        here = here.get(part)
    return here


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").splitlines()[0]
