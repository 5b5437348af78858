"""What goes over the line between the workbench and a simulator: one frame a message, arrays as raw bytes.

A frame is `magic, version, header length, body length` (20 bytes, little-endian), a header in JSON and a body. The
header holds the message's kind, its fields, and of each array the dtype, shape and offset in the body, where arrays
lie one behind the other. Nothing here can run code: dtypes come from a closed list, pickle is never touched.

Both ends read this file: it needs the standard library and NumPy alone, and runs on Python 3.8.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

VERSION = 1
MAGIC = b"wbsi"
PREFIX = struct.Struct("<4sIIQ")
LARGEST_HEADER = 2**20
LARGEST_BODY = 2**29
"""Bytes: 32 pictures of 1920 × 1080 pixels are 200 MB."""
ARRAYS = 16
DIMENSIONS = 6
DTYPES = ("|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8")
"""Booleans, integers, floating point numbers. No objects, no structures, no texts."""


class Refused(Exception):
    """A message that is not what it has to be, in one sentence."""


class Gone(Exception):
    """The other end has closed the line, or it broke."""


class Late(Exception):
    """The other end did not answer in time."""


@dataclass(frozen=True)
class Message:
    """Its kind, what JSON can say, and arrays by name."""

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def packed(message: Message) -> list[bytes | memoryview]:
    """The frame of a message, in the parts that it is sent in. Raises Refused for what cannot be sent."""
    described, parts, offset = {}, [], 0
    for name, array in message.arrays.items():
        if array.dtype.str not in DTYPES:
            raise Refused(f"The array {name!r} is of dtype {array.dtype}; booleans, integers and floats can be sent.")
        described[name] = {"dtype": array.dtype.str, "shape": list(array.shape), "offset": offset}
        parts.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        offset += array.nbytes
    said = {"kind": message.kind, "fields": message.fields, "arrays": described}
    try:
        header = json.dumps(said, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise Refused(f"The message {message.kind!r} says what JSON cannot: {error}.") from error
    _check_sizes(len(header), offset, LARGEST_BODY)
    return [PREFIX.pack(MAGIC, VERSION, len(header), offset) + header, *parts]


def send(line: socket.socket, message: Message, deadline: float | None = None) -> None:
    """Send a whole frame before `deadline` (`time.monotonic()`). Raises Gone, Late or Refused."""
    for part in packed(message):
        try:
            line.settimeout(_left(deadline))
            line.sendall(part)
        except OSError as error:
            raise _broken(error) from error


def receive(line: socket.socket, deadline: float | None = None, largest: int = LARGEST_BODY) -> Message:
    """The next message, whose body has at most `largest` bytes. Raises Gone, Late or Refused."""
    prefix = _read(line, PREFIX.size, deadline, begun=False)
    magic, version, header, body = PREFIX.unpack(prefix)
    if magic != MAGIC:
        raise Refused(f"The other end does not speak this protocol: it began with {bytes(magic)!r}.")
    if version != VERSION:
        raise Refused(f"The other end speaks version {version} of this protocol, this one {VERSION}.")
    _check_sizes(header, body, largest)
    said = _read(line, header, deadline)
    return unpacked(bytes(said), _read(line, body, deadline))


def unpacked(header: bytes, body: bytearray) -> Message:
    """The message of a header and a body; its arrays share the body's memory. Raises Refused."""
    try:
        said = json.loads(header, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Refused(f"The header is not JSON as it has to be: {str(error)[:200]}.") from error
    if not isinstance(said, dict) or set(said) != {"kind", "fields", "arrays"}:
        raise Refused("The header has to be a map of kind, fields and arrays.")
    kind, fields, arrays = said["kind"], said["fields"], said["arrays"]
    if not isinstance(kind, str) or not isinstance(fields, dict) or not isinstance(arrays, dict):
        raise Refused("The header's kind has to be a text, its fields and arrays have to be maps.")
    if len(arrays) > ARRAYS:
        raise Refused(f"The message has {len(arrays)} arrays; at most {ARRAYS} are read.")
    read, end = {}, 0
    for name, described in arrays.items():
        read[name], end = _array(name, described, body, end)
    if end != len(body):
        raise Refused(f"The body has {len(body)} bytes, its arrays {end}.")
    return Message(kind, fields, read)


def _array(name: str, described: Any, body: bytearray, begin: int) -> tuple[np.ndarray, int]:
    """The array that begins at `begin`, and where it ends."""
    if not isinstance(described, dict) or set(described) != {"dtype", "shape", "offset"}:
        raise Refused(f"The array {name!r} has to be described by dtype, shape and offset.")
    dtype, shape, offset = described["dtype"], described["shape"], described["offset"]
    if dtype not in DTYPES:
        raise Refused(f"The array {name!r} is of dtype {str(dtype)[:40]!r}; expected one of {', '.join(DTYPES)}.")
    if not isinstance(shape, list) or len(shape) > DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
        raise Refused(f"The array {name!r} has the shape {str(shape)[:80]}; expected at most {DIMENSIONS} sizes.")
    count, known = math.prod(shape), np.dtype(dtype)
    if type(offset) is not int or offset != begin or begin + count * known.itemsize > len(body):
        raise Refused(f"The array {name!r} does not lie where it has to, behind the others and within the body.")
    try:
        return np.frombuffer(body, known, count, begin).reshape(shape), begin + count * known.itemsize
    except ValueError as error:  # a size that no array can have beside one of 0
        raise Refused(f"The array {name!r} has the shape {str(shape)[:80]}, which cannot be.") from error


def _check_sizes(header: int, body: int, largest: int) -> None:
    if header > LARGEST_HEADER:
        raise Refused(f"The header has {header:,} bytes; at most {LARGEST_HEADER:,} are read.")
    if body > largest:
        raise Refused(f"The body has {body:,} bytes; at most {largest:,} are read.")


def _read(line: socket.socket, count: int, deadline: float | None, *, begun: bool = True) -> bytearray:
    """Exactly `count` bytes; an end within a message that has begun is refused, one before it is a closed line."""
    found = bytearray(count)
    view, done = memoryview(found), 0
    while done < count:
        try:
            line.settimeout(_left(deadline))
            got = line.recv_into(view[done:])
        except OSError as error:
            raise _broken(error) from error
        if got == 0 and done == 0 and not begun:
            raise Gone("the other end has closed the line")
        if got == 0:
            raise Refused(f"The message was cut off after {done} of {count} bytes.")
        done += got
    return found


def _broken(error: OSError) -> Exception:
    """Python 3.8 knows a time-out as `socket.timeout`, which is no TimeoutError yet."""
    return Late() if isinstance(error, socket.timeout) else Gone(str(error))


def _left(deadline: float | None) -> float | None:
    """Seconds until the deadline, none for none. Raises Late where it has passed."""
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise Late()
    return left


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number that JSON has")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found
