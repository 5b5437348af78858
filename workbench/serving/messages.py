"""Msgpack messages with arrays in them, read as what they are: a stranger's data.

Two spellings of an array exist in the field, a map with the key `__ndarray__` beside `data`, `dtype` and `shape`:
openpi's client writes these keys as bytes, vla-eval as text. vla-eval also sends pictures as PNG or JPEG (`__image__`).
Nothing here can run code: dtypes come from a closed list, pickle is never touched, extension types are refused.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgpack
import numpy as np

from workbench.serving.pictures import Encoded
from workbench.serving.refusal import Refused, shown

LARGEST = 32 * 2**20
"""Bytes of a message: five pictures of 1920 × 1080 pixels."""
DEEPEST = 8
ENTRIES = 50_000
"""Entries of all maps and lists of a message together: numbers come in arrays, a robot's observation has dozens."""
LONGEST = 2**16
"""Bytes of a text."""
DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
"""Booleans, integers, floating point numbers. No objects, no structures, no texts."""
DIMENSIONS = 8

Spelling = Literal["bytes", "text"]


def packed(message: Mapping[str, Any], *, markers: Spelling) -> bytes:
    """The message as bytes; the keys that mark its arrays are spelled as the client expects them."""

    def spelled(value: object) -> dict[Any, Any]:
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{type(value).__name__} cannot be sent")
        entry = {"__ndarray__": True, "data": value.tobytes(), "dtype": value.dtype.str, "shape": list(value.shape)}
        return {key.encode(): kept for key, kept in entry.items()} if markers == "bytes" else entry

    data = msgpack.packb(message, default=spelled)
    assert isinstance(data, bytes)
    return data


def unpacked(data: bytes | str) -> dict[str, Any]:
    """The map in a message, its arrays read (not copied, not writable). Raises Refused for anything else."""
    if isinstance(data, str):
        raise Refused(f"Expected a binary msgpack message, got text: {shown(data)}.")
    if len(data) > LARGEST:
        raise Refused(f"The message has {len(data):,} bytes; at most {LARGEST:,} are read.")
    counted = _counter()
    try:
        found = msgpack.unpackb(
            data,
            object_hook=counted,
            list_hook=counted,
            strict_map_key=True,
            max_str_len=LONGEST,
            max_array_len=ENTRIES,
            max_map_len=ENTRIES,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise Refused(
            f"The message is not whole, valid msgpack: {shown(str(error) or type(error).__name__)}."
        ) from error
    read = _read(found, ())
    if not isinstance(read, dict):
        raise Refused(f"Expected a map of keys, got {type(found).__name__}.")
    return read


def _counter() -> Callable[[Any], Any]:
    """A hook that refuses a message once its containers are too many: an empty map of one byte costs 64 in memory."""
    seen = 0

    def counted(container: Any) -> Any:
        nonlocal seen
        seen += 1 + len(container)
        if seen > ENTRIES:
            raise Refused(f"The message has more than {ENTRIES:,} entries; send numbers as arrays.")
        return container

    return counted


def _read(value: Any, where: tuple[str, ...]) -> Any:
    if len(where) > DEEPEST:
        raise Refused(f"{_name(where[:2])} is nested more than {DEEPEST} deep.")
    match value:
        case None | bool() | int() | float() | str() | bytes():
            return value
        case list():
            return [_read(one, (*where, str(index))) for index, one in enumerate(value)]
        case dict():
            return _read_map(value, where)
        case _:
            raise Refused(f"{_name(where)} is of a msgpack extension type; expected maps, lists, texts and numbers.")


def _read_map(value: dict[Any, Any], where: tuple[str, ...]) -> Any:
    for marker in ("__ndarray__", "__npgeneric__", "__image__"):
        for key in (marker, marker.encode()):
            if key in value:
                fields = {_text(name): kept for name, kept in value.items()}
                return READERS[marker](fields, _name(where))
    for key in value:
        if not isinstance(key, str):
            raise Refused(f"{_name(where)} has the key {shown(key)}; expected text.")
    return {key: _read(one, (*where, key)) for key, one in value.items()}


def _text(key: str | bytes) -> str:
    return key.decode("ascii", "replace") if isinstance(key, bytes) else key


def _read_array(fields: dict[str, Any], where: str) -> np.ndarray:
    data, dtype, shape = (fields.get(name) for name in ("data", "dtype", "shape"))
    if not isinstance(dtype, str) or DTYPE.fullmatch(dtype) is None:
        raise Refused(f"{where} is an array of dtype {shown(dtype)}; expected booleans, integers or floats, as '|u1'.")
    if not isinstance(shape, list) or len(shape) > DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
        raise Refused(f"{where} is an array of shape {shown(shape)}; expected at most {DIMENSIONS} sizes.")
    known = np.dtype(dtype)
    needed = math.prod(shape) * known.itemsize
    if not isinstance(data, bytes) or len(data) != needed:
        got = f"{len(data):,} bytes" if isinstance(data, bytes) else type(data).__name__
        raise Refused(f"{where} is an array of {shown(shape)} {dtype} with {got} of data; expected {needed:,} bytes.")
    try:
        return np.frombuffer(data, known).reshape(shape)
    except ValueError as error:  # a size that no array can have beside one of 0
        raise Refused(f"{where} is an array of shape {shown(shape)}, which cannot be.") from error


def _read_scalar(fields: dict[str, Any], where: str) -> bool | int | float:
    number = fields.get("data")
    if not isinstance(number, bool | int | float):
        raise Refused(f"{where} is a scalar of {type(number).__name__}; expected a number.")
    return number


def _read_picture(fields: dict[str, Any], where: str) -> np.ndarray | Encoded:
    if fields.get("format") == "raw":
        return _read_array(fields, where)
    return Encoded(fields.get("format"), fields.get("data"), fields.get("shape"))


def _name(where: tuple[str, ...]) -> str:
    return shown("/".join(where)) if where else "The message"


READERS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "__ndarray__": _read_array,
    "__npgeneric__": _read_scalar,
    "__image__": _read_picture,
}
