"""RLDS datasets written byte by byte, with nothing of the reader: TFRecord framing, protobuf, and TFDS's JSON files."""

import io
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Value = list[bytes] | list[float] | list[int]

TABLE = []
for value in range(256):
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    TABLE.append(value)


def castagnoli(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register = (register >> 8) ^ TABLE[(register ^ byte) & 0xFF]
    return register ^ 0xFFFFFFFF


def stored_checksum(data: bytes) -> bytes:
    plain = castagnoli(data)
    rotated = ((plain >> 15) | (plain << 17)) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) % 2**32)


def framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + stored_checksum(length) + data + stored_checksum(data)


def varint(number: int) -> bytes:
    number %= 2**64
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def delimited(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(data)) + data


def feature(values: Value, *, packed: bool = True) -> bytes:
    """A Feature: BytesList 1, FloatList 2, Int64List 3, by what the first value is."""
    first = values[0] if values else 0.0
    if isinstance(first, bytes):
        return delimited(1, b"".join(delimited(1, one) for one in values if isinstance(one, bytes)))
    if isinstance(first, float):
        cells = [struct.pack("<f", one) for one in values]
        return delimited(2, delimited(1, b"".join(cells)) if packed else b"".join(b"\x0d" + cell for cell in cells))
    cells = [varint(int(one)) for one in values]
    return delimited(3, delimited(1, b"".join(cells)) if packed else b"".join(b"\x08" + cell for cell in cells))


def example(values: Mapping[str, Value], *, packed: bool = True) -> bytes:
    entries = [
        delimited(1, delimited(1, name.encode()) + delimited(2, feature(value, packed=packed)))
        for name, value in values.items()
    ]
    return delimited(1, b"".join(entries))


def picture(pixels: np.ndarray, form: str = "PNG") -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, form)
    return written.getvalue()


def tensor(shape: Sequence[int] = (), dtype: str = "float32", encoding: str = "none") -> dict:
    dimensions = {"dimensions": [str(one) for one in shape]} if shape else {}
    return {
        "pythonClassName": "tensorflow_datasets.core.features.tensor_feature.Tensor",
        "tensor": {"shape": dimensions, "dtype": dtype, "encoding": encoding},
    }


def image(height: int, width: int, channels: int = 3, dtype: str = "uint8") -> dict:
    return {
        "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
        "image": {
            "shape": {"dimensions": [str(height), str(width), str(channels)]},
            "dtype": dtype,
            "encodingFormat": "jpeg",
        },
        "description": "A camera.",
    }


def text() -> dict:
    return {"pythonClassName": "tensorflow_datasets.core.features.text_feature.Text", "text": {}}


def members(features: dict) -> dict:
    return {
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }


def write_metadata(root: Path, name: str, steps: dict, lengths: Mapping[str, Sequence[int]]) -> None:
    """`features.json` and `dataset_info.json`, in a folder that is made."""
    root.mkdir(parents=True)
    sequence = {
        "pythonClassName": "tensorflow_datasets.core.features.dataset_feature.Dataset",
        "sequence": {"feature": members(steps), "length": "-1"},
    }
    metadata = members({"file_path": text()})
    (root / "features.json").write_text(json.dumps(members({"episode_metadata": metadata, "steps": sequence})))
    splits = [
        {
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            "name": split,
            "numBytes": "1",
            "shardLengths": [str(one) for one in counts],
        }
        for split, counts in lengths.items()
    ]
    info = {"name": name, "version": "1.0.0", "fileFormat": "tfrecord", "splits": splits}
    (root / "dataset_info.json").write_text(json.dumps(info))


def write_shards(root: Path, name: str, split: str, files: Sequence[Sequence[bytes]]) -> list[Path]:
    paths = [root / f"{name}-{split}.tfrecord-{place:05d}-of-{len(files):05d}" for place in range(len(files))]
    for path, records in zip(paths, files, strict=True):
        path.write_bytes(b"".join(framed(record) for record in records))
    return paths
