"""Data out of a pickle that anybody may have written, without running anything of it.

A pickle is a program that may call whatever it names. Here it may name four things, those that numpy's arrays are made
of, and gets stand-ins for them that only keep what they are given; numpy itself is never handed a foreign state.
"""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from tokenize import TokenError

import numpy as np

from workbench.errors import UserError

ADMITTED = {("numpy", "ndarray"), ("numpy", "dtype")} | {
    (f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")
}
"""numpy 1 has the makers of its arrays in `numpy.core`, numpy 2 in `numpy._core`."""
OBJECTS = ("O", "O8")
PLAIN = r"[biuf][1248]|[US]\d{1,4}"
"""Kinds of values that are read out of bytes: truth values, numbers, texts."""
BROKEN = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    SyntaxError,
    TokenError,
    TypeError,
    ValueError,
)
"""What Python's unpickler raises on bytes that are no pickle."""


class PickledArray:
    """An array's content: of an array of objects the list, of another one the numbers."""

    def __init__(self) -> None:
        self.content: list | np.ndarray = []

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, content = state
        if kind.code in OBJECTS:
            if not isinstance(content, list):
                raise ValueError("an array of objects without a list of them")
            self.content = content
        else:
            self.content = np.frombuffer(content, kind.plain()).reshape(shape, order="F" if fortran else "C")

    def entries(self) -> list:
        return self.content if isinstance(self.content, list) else self.content.tolist()


class _Kind:
    """A dtype: its code and byte order, and nothing else of what one can be told."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="

    def plain(self) -> np.dtype:
        if not re.fullmatch(PLAIN, self.code):
            raise ValueError(f"values of kind '{self.code}'")
        return np.dtype(self.order + self.code)


class _Reader(pickle.Unpickler):
    """Names are looked up here and nowhere else. Every load gets functions of its own, which a pickle may well mark."""

    def find_class(self, module: str, name: str, /) -> object:
        if (module, name) not in ADMITTED:
            raise UserError(f"it asks to load {module}.{name}, and only texts, numbers and arrays of them are read")
        makers: dict[str, Callable] = {
            "ndarray": lambda *_: PickledArray(),
            "_reconstruct": lambda *_: PickledArray(),
            "dtype": lambda code, *_: _Kind(code),
            "scalar": lambda kind, content: np.frombuffer(content, kind.plain()).item(),
        }
        return makers[name]


def read_pickled_array(path: Path) -> PickledArray:
    """The array of objects in an .npy file. Raises UserError where it is damaged, or asks for anything else.

    Containers within are dict, list, tuple and set; arrays within are PickledArray.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            _, _, kind = read_header(file)
            if kind != np.dtype(object):
                raise UserError(f"it holds {kind}, not objects")
            array = _Reader(file).load()
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except UserError as error:
        raise UserError(f"{path} was not read: {error}. Nothing in it was run; have it from whom you trust.") from error
    except (*BROKEN, OSError) as error:
        raise UserError(f"{path} is damaged ({str(error) or type(error).__name__}). Download it again.") from error
    if not isinstance(array, PickledArray):
        raise UserError(f"{path} holds a {type(array).__name__} where an array is needed. Download it again.")
    return array
