"""A folder of episodes that anyone can write, with no library: pictures, two tables and a text each.

`episode_000/frames/000.png …` (or .jpg), `actions.npy` or `actions.csv`, optionally `state.npy` or `state.csv`, and
`instruction.txt`. Row t of a table belongs to picture t. A .csv may begin with a line of names; an .npy has none.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from workbench.data.computed import ComputedDataset, Header, Stored, choose_camera
from workbench.data.dataset import EpisodeFacts
from workbench.data.numpy_files import read_array
from workbench.errors import UserError

FRAMES = "frames"
PICTURES = (".png", ".jpg", ".jpeg")
STATELESS = "nothing"
"""The name of the state's one dimension, always 0, where no episode has a state."""


@dataclass(frozen=True, eq=False)
class Table:
    """One of an episode's tables."""

    names: tuple[str, ...]
    values: np.ndarray
    """[T, D]"""


class FolderDataset(ComputedDataset):
    """Episodes by the number of their folder; every one has the tables and the names of the first."""

    def __init__(self, header: Header, folders: Sequence[Path]) -> None:
        self._folders = folders
        super().__init__(header)

    def key(self, index: int) -> str:
        return self._folders[index].name

    def stored(self, index: int) -> Stored:
        folder, length = self._folders[index], self.episodes[index].length
        action, state = _table(folder, "actions"), _table(folder, "state")
        if action is None:
            raise UserError(f"{folder} has neither actions.npy nor actions.csv.")
        _check_table(folder, "actions", action, self.action_names)
        if self.state_names == (STATELESS,) and state is None:
            return Stored(state=np.zeros((length, 1), np.float32), action=action.values)
        if state is None or self.state_names == (STATELESS,):
            raise UserError(f"{folder} has {'no' if state is None else 'a'} state, unlike the first episode.")
        _check_table(folder, "state", state, self.state_names)
        return Stored(state=state.values, action=action.values)

    def pictures(self, index: int, frames: Sequence[int]) -> list[np.ndarray]:
        files = _frames(self._folders[index])
        return [_picture(files[frame]) for frame in frames]


def open_folder(root: Path, camera: str | None = None) -> FolderDataset:
    """Open a folder with folders `episode_N` in it; the one camera is called `frames`.

    Raises UserError, which names the file and the line or frame, where something is missing, damaged or unlike the
    other episodes.
    """
    folders = episode_folders(root)
    if not folders:
        raise UserError(f"{root} has no folder episode_0, episode_1, … in it.")
    state, action = _table(folders[0], "state"), _table(folders[0], "actions")
    header = Header(
        root=root,
        format="folder of episodes",
        cameras=(FRAMES,),
        camera=choose_camera(camera, (FRAMES,), root),
        fps=None,
        state_names=state.names if state else (STATELESS,),
        action_names=action.names if action else (),
        episodes=tuple(
            EpisodeFacts(index, len(_frames(folder)), _instruction(folder)) for index, folder in enumerate(folders)
        ),
    )
    return FolderDataset(header, folders)


def episode_folders(root: Path) -> list[Path]:
    """By number; those of one number by name. None where there is no such folder."""
    found = [path for path in root.glob("episode_*") if re.fullmatch(r"episode_\d+", path.name) and path.is_dir()]
    return sorted(found, key=lambda path: (int(path.name.removeprefix("episode_")), path.name))


def _frames(folder: Path) -> list[Path]:
    """Pictures by the last number in their names; raises UserError where there is none, or a number twice."""
    by_number: dict[int, Path] = {}
    for path in sorted((folder / FRAMES).glob("*")):
        if path.suffix.lower() not in PICTURES:
            continue
        numbers = re.findall(r"\d+", path.stem)
        if not numbers:
            raise UserError(f"{path} has no number in its name, so its place among the frames is unknown.")
        other = by_number.setdefault(int(numbers[-1]), path)
        if other != path:
            raise UserError(f"{other} and {path} have the same number. Each frame needs its own.")
    if not by_number:
        raise UserError(f"{folder / FRAMES} has no picture ({', '.join(PICTURES)}).")
    return [by_number[number] for number in sorted(by_number)]


def _picture(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is damaged, or no picture: {error}.") from error


def _instruction(folder: Path) -> str:
    path = folder / "instruction.txt"
    try:
        text = " ".join(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is missing or no text in UTF-8: {error}.") from error
    if not text:
        raise UserError(f"{path} is empty. Write what the robot was to do.")
    return text


def _table(folder: Path, name: str) -> Table | None:
    """None where there is no such table; raises UserError where there are two, or it is no table of numbers."""
    array, text = folder / f"{name}.npy", folder / f"{name}.csv"
    if array.is_file() and text.is_file():
        raise UserError(f"{folder} has both {array.name} and {text.name}. Remove the one that is not meant.")
    if text.is_file():
        return _csv(text)
    if not array.is_file():
        return None
    values = read_array(array)
    if values.ndim != 2 or 0 in values.shape:
        raise UserError(f"{array} is {values.dtype} {list(values.shape)}; numbers [T, D] are needed, a row a frame.")
    return Table(names=tuple(f"{name}.{place}" for place in range(values.shape[1])), values=values)


def _csv(path: Path) -> Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [(number, cells) for number, cells in enumerate(csv.reader(file), 1) if cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no table in UTF-8: {error}.") from error
    names = tuple(f"{path.stem}.{place}" for place in range(len(lines[0][1]) if lines else 0))
    if lines and _numbers(lines[0][1]) is None:
        names, lines = tuple(cell.strip() for cell in lines[0][1]), lines[1:]
    rows = []
    for number, cells in lines:
        row = _numbers(cells)
        if row is None or len(row) != len(names):
            raise UserError(f"Line {number} of {path} is '{','.join(cells)[:80]}'; {len(names)} numbers are needed.")
        rows.append(row)
    if not rows:
        raise UserError(f"{path} has no row of numbers.")
    return Table(names=names, values=np.array(rows, np.float64))


def _numbers(cells: Sequence[str]) -> list[float] | None:
    try:
        return [float(cell) for cell in cells]
    except ValueError:
        return None


def _check_table(folder: Path, name: str, table: Table, names: Sequence[str]) -> None:
    if table.names != tuple(names):
        raise UserError(
            f"The {name} of {folder} has {len(table.names)} columns ({', '.join(table.names)}); the first episode's "
            f"has {len(names)} ({', '.join(names)})."
        )
