"""TFRecord files: records found by their lengths, read one at a time, both checksums checked.

A record is its length (uint64), the length's checksum, the data and the data's checksum (uint32 each), little-endian;
https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details".
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from workbench.data.crc32c import ONES, crc32c
from workbench.errors import UserError

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
MASK = 0xA282EAD8
AGAIN = "Download the file again."


@dataclass(frozen=True)
class Record:
    """Where a record's data lie in its file."""

    offset: int
    """Of the first byte of the data."""
    length: int
    """Bytes of data."""
    checksum: int
    """Of the data, as the file states it."""


def scan(path: Path) -> tuple[Record, ...]:
    """The records of a file, whose data are not read yet; an empty file has none.

    Raises UserError, which names file and record, where a length's checksum is wrong or the file ends too early.
    """
    found: list[Record] = []
    size = path.stat().st_size
    with path.open("rb", buffering=0) as content:
        at = 0
        while at < size:
            where = f"Record {len(found)} of {path}"
            header = content.read(HEADER.size)
            if len(header) < HEADER.size:
                raise UserError(f"{where} is cut off within its length. {AGAIN}")
            length, checksum = HEADER.unpack(header)
            if masked(header[: HEADER.size - FOOTER.size]) != checksum:
                raise UserError(f"{where} has a length that its checksum does not fit, at byte {at}. {AGAIN}")
            end = at + HEADER.size + length + FOOTER.size
            if end > size:
                raise UserError(f"{where} is cut off: it should end at byte {end}, but the file has {size}. {AGAIN}")
            content.seek(end - FOOTER.size)
            found.append(Record(at + HEADER.size, length, *FOOTER.unpack(content.read(FOOTER.size))))
            at = end
    return tuple(found)


def read(path: Path, record: Record, where: str) -> bytes:
    """The data of a record that `scan` found. Raises UserError where they are not what their checksum says."""
    with path.open("rb", buffering=0) as content:
        content.seek(record.offset)
        data = content.read(record.length)
    if len(data) < record.length or masked(data) != record.checksum:
        raise UserError(f"{where} is damaged: its data do not fit their checksum. {AGAIN}")
    return data


def masked(data: bytes) -> int:
    """The CRC-32C of `data` as TFRecord stores it: rotated by 15 bits and shifted by a constant."""
    checksum = crc32c(data)
    return ((checksum >> 15 | checksum << 17) + MASK) & ONES
