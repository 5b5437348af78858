"""Arrays in .npy and .npz files, never with a pickle in them."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from workbench.errors import UserError

LARGEST = 1 << 28
"""Bytes that a member of an archive may unpack to: a step's pictures are thousandths of it, zeros pack 1000 to 1."""


def read_array(path: Path) -> np.ndarray:
    """The array of an .npy file. Raises UserError where there is none, it is damaged, or it holds objects."""
    with _whole(path):
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive of several arrays")
        return array


def read_members(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """These arrays of an .npz file, and no others of it. Raises UserError as `read_array`, and where one is missing."""
    with _whole(path), zipfile.ZipFile(path) as archive:
        missing = [name for name in names if f"{name}.npy" not in archive.namelist()]
        if missing:
            raise UserError(f"{path} has no '{missing[0]}'. It has: {', '.join(_members(archive))}.")
        read = []
        for name in names:
            if archive.getinfo(f"{name}.npy").file_size > LARGEST:
                raise ValueError(f"'{name}' is unpacked larger than {LARGEST >> 20} MiB")
            with archive.open(f"{name}.npy") as member:
                read.append(np.lib.format.read_array(member, allow_pickle=False))
        return read


def member_names(path: Path) -> tuple[str, ...]:
    """What an .npz file holds. Raises UserError as `read_array`."""
    with _whole(path), zipfile.ZipFile(path) as archive:
        return _members(archive)


def _members(archive: zipfile.ZipFile) -> tuple[str, ...]:
    return tuple(name.removesuffix(".npy") for name in archive.namelist())


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise UserError(f"{path} is no whole file of numpy's without pickles ({error}). Download it again.") from error
