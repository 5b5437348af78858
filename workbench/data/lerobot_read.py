"""Cells of a LeRobot dataset's files as arrays; whatever is damaged or missing is a sentence that names it."""

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from PIL import Image

from workbench.errors import UserError

AGAIN = "Collect or download the dataset again."


def read_json(path: Path) -> dict:
    """The object in a JSON file; raises UserError where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing, so this is no whole LeRobot dataset. {AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}. {AGAIN}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__} where a JSON object is needed. {AGAIN}")
    return value


def parquet_file(path: Path, columns: Iterable[str]) -> pq.FileMetaData:
    """The footer of a parquet file; raises UserError where it cannot be read or lacks one of the columns."""
    if not path.is_file():
        raise UserError(f"{path} is missing, though the dataset's metadata name it. {AGAIN}")
    try:
        footer = pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    present = footer.schema.to_arrow_schema().names
    missing = [column for column in columns if column not in present]
    if missing:
        raise UserError(f"{path} has no column '{missing[0]}'. It has: {', '.join(present)}.")
    return footer


def read_table(path: Path, columns: Sequence[str], episodes: Sequence[int] | None = None) -> pa.Table:
    """These columns of a parquet file, of all rows or of those of these episodes. Errors as `parquet_file`."""
    parquet_file(path, columns)
    wanted = None if episodes is None else pc.field("episode_index").isin(list(episodes))
    try:
        # Row groups without a wanted episode are skipped.
        return ds.dataset(path, format="parquet").to_table(columns=list(columns), filter=wanted)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def matrix(table: pa.Table, column: str, width: int, path: Path) -> np.ndarray:
    """A column of numbers or of lists of `width` numbers as [N, width]; raises UserError on any other cell."""
    cells = table.column(column)
    if pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type) or pa.types.is_fixed_size_list(cells.type):
        lengths = pc.call_function("list_value_length", [cells]).to_numpy()
        if cells.null_count or (lengths != width).any():
            raise UserError(f"Column '{column}' of {path} has a row without exactly {width} values. {AGAIN}")
        cells = pc.call_function("list_flatten", [cells])
    kind = cells.type
    if cells.null_count or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise UserError(f"Column '{column}' of {path} has an empty or non-numeric cell. {AGAIN}")
    if len(cells) != table.num_rows * width:
        raise UserError(f"Column '{column}' of {path} is not {width} values wide, as the dataset's info.json says.")
    return cells.to_numpy().reshape(table.num_rows, width)


def pictures(table: pa.Table, column: str, path: Path) -> list[bytes]:
    """The encoded image of every row; raises UserError where one lies elsewhere or is empty."""
    kind = table.schema.field(column).type
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        raise UserError(f"Column '{column}' of {path} is {kind}, not images embedded as bytes.")
    chunks = [chunk.field("bytes") for chunk in table.column(column).chunks]
    cells = pa.chunked_array(chunks, kind.field("bytes").type)
    if cells.null_count:
        raise UserError(f"Column '{column}' of {path} has a row whose image is not embedded in the file. {AGAIN}")
    return cells.to_pylist()


def decode(encoded: Sequence[bytes], names: Sequence[str]) -> np.ndarray:
    """uint8 [N, H, W, 3] RGB of N >= 1 images; raises UserError that names a damaged one, or one of another size."""
    first = _decode(encoded[0], names[0])
    image_NHWC = np.empty((len(encoded), *first.shape), dtype=np.uint8)
    for place, cell in enumerate(encoded):
        picture = _decode(cell, names[place])
        if picture.shape != first.shape:
            raise UserError(
                f"The image of {names[place]} is {picture.shape[1]} x {picture.shape[0]} pixels, that of {names[0]} "
                f"{first.shape[1]} x {first.shape[0]}. One dataset has one size."
            )
        image_NHWC[place] = picture
    return image_NHWC


def _decode(encoded: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"The image of {name} is damaged: {error}. {AGAIN}") from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is not a whole parquet file ({str(error).splitlines()[0]}). {AGAIN}")
