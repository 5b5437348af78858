"""`tf.train.Example` read off its bytes, without TensorFlow or protobuf.

Example { Features features = 1 }; Features { map<string, Feature> feature = 1 }; Feature is one of BytesList = 1,
FloatList = 2, Int64List = 3, each with a repeated `value = 1` (tensorflow/core/example/{example,feature}.proto). Wire
format: https://protobuf.dev/programming-guides/encoding. Unknown fields are passed over, as protobuf asks.
"""

import mmap
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import numpy as np

Buffer = bytes | mmap.mmap

LONGEST_VARINT = 10
BYTES_LIST, FLOAT_LIST, INT64_LIST = 1, 2, 3
NAMES = {BYTES_LIST: "bytes", FLOAT_LIST: "floats", INT64_LIST: "integers"}


class Wire(IntEnum):
    """How a field is written."""

    VARINT = 0
    FIXED64 = 1
    DELIMITED = 2
    FIXED32 = 5


class Malformed(ValueError):
    """Bytes that are no Example, or a feature of another kind than the one asked for."""


class Field(NamedTuple):
    """One field of a message: bytes `start` to `end` of its buffer, behind the tag (and the length)."""

    number: int
    wire: int
    start: int
    end: int


def features(buffer: Buffer, start: int, end: int) -> dict[str, slice]:
    """Where the value of every feature of the Example in `buffer[start:end]` lies, by name.

    Only names and lengths are looked at: in a mapped file, values are not even read from disk. Raises Malformed.
    """
    found: dict[str, slice] = {}
    for message in _messages(buffer, start, end):
        for entry in _messages(buffer, message.start, message.end):
            name, value = b"", slice(entry.end, entry.end)
            for field in _fields(buffer, entry.start, entry.end):
                if field.wire == Wire.DELIMITED and field.number == 1:
                    name = buffer[field.start : field.end]
                elif field.wire == Wire.DELIMITED and field.number == 2:
                    value = slice(field.start, field.end)
            try:
                found[name.decode("utf-8")] = value
            except UnicodeDecodeError as error:
                raise Malformed(f"a feature's name is not text: {name!r}") from error
    return found


def byte_strings(feature: bytes) -> list[bytes]:
    """The values of a feature of strings. Raises Malformed, as all of these do."""
    values: list[bytes] = []
    for place in _list(feature, BYTES_LIST):
        values += [feature[field.start : field.end] for field in _messages(feature, place.start, place.end)]
    return values


def floats(feature: bytes) -> np.ndarray:
    """float32 [n] values of a feature of floats, packed or not."""
    parts = []
    for place in _list(feature, FLOAT_LIST):
        for field in _fields(feature, place.start, place.end):
            if field.number == 1 and field.wire in (Wire.DELIMITED, Wire.FIXED32):
                if (field.end - field.start) % 4:
                    raise Malformed("a list of floats ends within one")
                parts.append(np.frombuffer(feature[field.start : field.end], "<f4"))
    return np.concatenate([np.empty(0, np.float32), *parts])


def integers(feature: bytes) -> np.ndarray:
    """int64 [n] values of a feature of integers or truth values, packed or not."""
    parts = []
    for place in _list(feature, INT64_LIST):
        for field in _fields(feature, place.start, place.end):
            if field.number == 1 and field.wire in (Wire.DELIMITED, Wire.VARINT):
                parts.append(_varints(feature[field.start : field.end]))
    return np.concatenate([np.empty(0, np.int64), *parts])


def _list(feature: bytes, kind: int) -> list[Field]:
    """The parts of a feature's list, none where it has no values; it is of one kind."""
    parts = list(_fields(feature, 0, len(feature)))
    for part in parts:
        if part.number != kind or part.wire != Wire.DELIMITED:
            raise Malformed(f"it holds {NAMES.get(part.number, 'something else')}, not {NAMES[kind]}")
    return parts


def _messages(buffer: Buffer, start: int, end: int) -> Iterator[Field]:
    """The fields numbered 1 that have a length: the only ones in the messages around a feature."""
    for field in _fields(buffer, start, end):
        if field.number == 1 and field.wire == Wire.DELIMITED:
            yield field


def _fields(buffer: Buffer, start: int, end: int) -> Iterator[Field]:
    at = start
    while at < end:
        tag, at = _varint(buffer, at, end)
        wire, begin = tag & 7, at
        match wire:
            case Wire.VARINT:
                _, at = _varint(buffer, at, end)
            case Wire.FIXED64:
                at += 8
            case Wire.DELIMITED:
                length, begin = _varint(buffer, at, end)
                at = begin + length
            case Wire.FIXED32:
                at += 4
            case _:
                raise Malformed(f"byte {begin - 1 - start} begins a field of unknown form")
        if at > end:
            raise Malformed(f"a field reaches {at - end} bytes past the end of what holds it")
        yield Field(tag >> 3, wire, begin, at)


def _varint(buffer: Buffer, at: int, end: int) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first, and where it ends."""
    value = 0
    for place in range(LONGEST_VARINT):
        if at + place >= end:
            raise Malformed("a number is cut off")
        byte = buffer[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise Malformed(f"a number has more than {LONGEST_VARINT} bytes")


def _varints(packed: bytes) -> np.ndarray:
    """int64 [n], two's complement."""
    byte = np.frombuffer(packed, np.uint8)
    last = np.flatnonzero(byte < 0x80)
    if len(byte) == 0:
        return np.empty(0, np.int64)
    if len(last) == 0 or last[-1] != len(byte) - 1:
        raise Malformed("a list of integers ends within one")
    first = np.append(0, last[:-1] + 1)
    place = np.arange(len(byte)) - np.repeat(first, last - first + 1)
    if place.max() >= LONGEST_VARINT:
        raise Malformed(f"a number has more than {LONGEST_VARINT} bytes")
    shifted = (byte & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.bitwise_or.reduceat(shifted, first).view(np.int64)
