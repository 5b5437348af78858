"""One data file of a LeRobot dataset: rows with PNG images, made in memory."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from workbench.data.lerobot_layout import IMAGE, Feature, arrow_schema

PNG_EFFORT = 1
"""zlib's level. Every level is lossless; LeRobot's 6 takes several times as long to save a tenth of the bytes."""
WRITING: dict[str, Any] = {"compression": "snappy", "use_dictionary": False, "write_statistics": ["episode_index"]}
"""A dictionary, and minima and maxima, of PNG bytes would only make the file larger; the episode's find its rows."""


class DataFile:
    """A parquet file with one row group an episode. In memory, so that a full disk or Ctrl-C meets no open file."""

    def __init__(self, features: dict[str, Feature]) -> None:
        self.schema = arrow_schema(features)
        self.sink = pa.BufferOutputStream()
        self.writer = pq.ParquetWriter(self.sink, self.schema, **WRITING)

    @property
    def size(self) -> int:
        """Bytes so far, without the footer."""
        return self.sink.tell()

    def append(self, image: np.ndarray, columns: dict[str, np.ndarray]) -> None:
        """Add an episode: images uint8 [T, H, W, 3], and every other column [T, D]."""
        arrays = [
            pa.array([{"bytes": _png(picture), "path": None} for picture in image], IMAGE)
            if field.type == IMAGE
            else _vectors(columns[field.name], field.type)
            for field in self.schema
        ]
        self.writer.write_table(pa.table(arrays, schema=self.schema))

    def close(self) -> pa.Buffer:
        """The whole file's bytes; nothing can be added afterwards."""
        self.writer.close()
        return self.sink.getvalue()


def _vectors(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values[:, 0], kind)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind.value_type), type=kind)


def _png(picture: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, format="PNG", compress_level=PNG_EFFORT)
    return sink.getvalue()
