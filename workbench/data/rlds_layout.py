"""What a folder of TensorFlow Datasets says of its episodes: `features.json`, `dataset_info.json` and the shards.

Source: tensorflow_datasets/core/proto/feature.proto and dataset_info.proto, as JSON; names of Example features are
paths joined by `/` (core/example_serializer.py); RLDS, arXiv:2111.02767: one Example is an episode, `steps` its steps.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.errors import UserError, unknown

FEATURES, INFO = "features.json", "dataset_info.json"
STEPS = "steps"
AGAIN = "Download the dataset again."
SHARD = re.compile(r"(?P<name>.+)-(?P<split>[^-]+)\.tfrecord-(?P<index>\d{5,})-of-(?P<total>\d{5,})")


class Part(BaseModel):
    """A message of TensorFlow Datasets; keys that are not needed here are passed over, for the format is not ours."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Shape(Part):
    dimensions: tuple[int, ...] = ()
    """−1 where it varies."""


class Tensor(Part):
    shape: Shape = Shape()
    dtype: str
    encoding: str = "none"


class Image(Part):
    shape: Shape = Shape()
    dtype: str = "uint8"


class Members(Part):
    features: dict[str, "Feature"]


class Sequence(Part):
    feature: "Feature"


class Feature(Part):
    """A node of `features.json`; of the kinds there are, one is set."""

    members: Members | None = Field(default=None, alias="featuresDict")
    sequence: Sequence | None = None
    tensor: Tensor | None = None
    image: Image | None = None
    text: dict | None = None


class Split(Part):
    name: str
    lengths: tuple[int, ...] = Field(default=(), alias="shardLengths")
    """Records of every shard."""


class Info(Part):
    name: str
    format: str = Field(default="tfrecord", alias="fileFormat")
    splits: tuple[Split, ...]


@dataclass(frozen=True)
class Column:
    """Numbers of fixed shape at every step."""

    shape: tuple[int, ...]
    """Empty for a single number."""
    floating: bool
    """Stored as floats; otherwise as integers, as truth values are."""

    @property
    def width(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class StepFeatures:
    """What every step has, by its path below `steps`."""

    columns: Mapping[str, Column]
    images: tuple[str, ...]
    """Encoded RGB."""
    texts: tuple[str, ...]
    depths: Mapping[str, str] = field(default_factory=dict)
    """Of encoded pictures with one channel: the kind of their numbers."""


def read_info(root: Path) -> Info:
    """`dataset_info.json`. Raises UserError where it is missing or says too little, or names another file format."""
    info = _read(root, INFO, Info)
    if info.format != "tfrecord":
        raise UserError(f"{root} holds files of the format '{info.format}'; tfrecord is what is read here.")
    return info


def read_features(root: Path) -> StepFeatures:
    """The features of the steps in `features.json`. Raises UserError where it is missing or lists no steps."""
    steps = (_read(root, FEATURES, Feature).members or Members(features={})).features.get(STEPS)
    if steps is None or steps.sequence is None or steps.sequence.feature.members is None:
        raise UserError(
            f"{root / FEATURES} lists no sequence '{STEPS}', so these are not episodes in the form of RLDS."
        )
    columns: dict[str, Column] = {}
    images, texts, depths = [], [], {}
    for key, node in _leaves(steps.sequence.feature, ""):
        if node.image and node.image.dtype == "uint8" and node.image.shape.dimensions[-1:] in ((3,), ()):
            images.append(key)
        elif node.image and node.image.shape.dimensions[-1:] == (1,):
            depths[key] = node.image.dtype
        elif node.text is not None or (node.tensor and _is_text(node.tensor)):
            texts.append(key)
        elif node.tensor and (column := _column(node.tensor)):
            columns[key] = column
    return StepFeatures(columns, tuple(images), tuple(texts), depths)


def shards(root: Path, info: Info, split: str) -> tuple[tuple[Path, int], ...]:
    """The files of a split in their order, each with the records that it should hold.

    A file's own name is followed, not the folder's: `bridge_orig` holds files of `bridge_dataset`. Raises UserError
    for a split that there is not, for a missing file, and for files of several datasets.
    """
    known = {one.name: one for one in info.splits}
    if split not in known:
        raise unknown(f"split of {root}", split, known)
    matches = [match for path in root.iterdir() if (match := SHARD.fullmatch(path.name)) and match["split"] == split]
    sets = {(match["name"], match["total"]) for match in matches}
    if len(sets) != 1:
        found = ", ".join(f"{name}-{split} of {total}" for name, total in sorted(sets)) or "none"
        raise UserError(f"{root} should hold one set of files *-{split}.tfrecord-*-of-*; found: {found}.")
    [(name, total)] = sets
    lengths = known[split].lengths
    if len(lengths) != int(total):
        raise UserError(f"{root / INFO} has {len(lengths)} shards of '{split}', but the files say of-{total}. {AGAIN}")
    paths = [root / f"{name}-{split}.tfrecord-{index:05d}-of-{total}" for index in range(int(total))]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more of {total}" if len(missing) > 1 else ""
        raise UserError(f"{root} lacks {missing[0]}{more}. Download what is missing.")
    return tuple(zip(paths, lengths, strict=True))


def _is_text(tensor: Tensor) -> bool:
    return tensor.dtype == "string" and not tensor.shape.dimensions


def _column(tensor: Tensor) -> Column | None:
    """None where it is compressed, of varying shape, or no numbers."""
    shape = tensor.shape.dimensions
    if tensor.encoding not in ("", "none") or min(shape, default=1) < 1:
        return None
    floating = "float" in tensor.dtype
    if not floating and tensor.dtype != "bool" and "int" not in tensor.dtype:
        return None
    return Column(shape, floating)


def _leaves(node: Feature, path: str) -> Iterator[tuple[str, Feature]]:
    if node.members is None:
        yield path, node
        return
    for name, member in node.members.features.items():
        yield from _leaves(member, f"{path}/{name}" if path else name)


Read = TypeVar("Read", bound=Part)


def _read(root: Path, name: str, kind: type[Read]) -> Read:
    path = root / name
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        versions = sorted(str(found.parent) for found in root.glob(f"*/{name}"))
        hint = f"Did you mean {' or '.join(versions)}?" if versions else AGAIN
        raise UserError(f"{path} is missing; an RLDS dataset is a folder <name>/<version>. {hint}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path} is not as TensorFlow Datasets writes it: {place}: {first['msg']}. {AGAIN}") from error
