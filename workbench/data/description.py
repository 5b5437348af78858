"""What the numbers of a data set mean, dimension by dimension, as a value read from TOML: nothing of it is guessed."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from workbench.errors import UserError, unknown
from workbench.spec import Value

READY = Path(__file__).parent / "descriptions"
"""Folder of the descriptions that come with the workbench; a file's name is the description's."""

Frame = Literal["base", "end-effector"]
Form = Literal["euler-xyz", "axis-angle", "quaternion-xyzw", "quaternion-wxyz", "rotation-6d"]
"""euler-xyz: roll, pitch, yaw about the fixed axes x, y, z, in this order (extrinsic). axis-angle: the axis, as long as
the angle. rotation-6d: the matrix's first column, then its second (arXiv:1812.07035)."""
WIDTHS: dict[Form, int] = {
    "euler-xyz": 3,
    "axis-angle": 3,
    "quaternion-xyzw": 4,
    "quaternion-wxyz": 4,
    "rotation-6d": 6,
}
IN_ANGLES: tuple[Form, ...] = ("euler-xyz", "axis-angle")
"""The forms whose numbers are angles, and so have a unit."""

Range = tuple[float, float]


class TranslationPart(Value):
    """Where the end effector is, or how far it is to go."""

    dimensions: tuple[int, int, int]
    """Of x, y and z."""
    means: Literal["absolute", "delta"]
    frame: Frame
    """In whose axes; `end-effector` where they turn with the hand."""
    unit_m: float = Field(gt=0)
    """Metres that 1.0 stands for: 1 where the numbers are metres, the largest step where they are shares of it."""
    range: Range | None = None
    """Lowest and highest stored number, where there are such."""


class RotationPart(Value):
    """How the end effector is turned, or how it is to turn."""

    dimensions: tuple[int, ...]
    """In the form's order."""
    means: Literal["absolute", "delta", "difference"]
    """delta: a rotation to carry out; difference: Euler angles afterwards minus those before, which is no rotation."""
    frame: Frame
    form: Form
    unit_rad: float | None = Field(default=None, gt=0)
    """Radians that 1.0 stands for, of the forms that are angles: 1 where the numbers are radians."""
    range: Range | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.dimensions) != WIDTHS[self.form]:
            raise ValueError(f"{self.form} has {WIDTHS[self.form]} dimensions, not {len(self.dimensions)}")
        if (self.unit_rad is not None) != (self.form in IN_ANGLES):
            raise ValueError(f"unit_rad belongs to {' and '.join(IN_ANGLES)}, and only there; the form is {self.form}")
        if self.means == "difference" and self.form != "euler-xyz":
            raise ValueError(f"only Euler angles have a difference; the form is {self.form}")
        return self


class GripperPart(Value):
    """How far the gripper is closed, or is to close."""

    dimension: int
    kind: Literal["binary", "continuous"]
    closed: float
    open: float
    threshold: float
    """Between the two: what lies on the closed side of it is closed."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not min(self.closed, self.open) < self.threshold < max(self.closed, self.open):
            raise ValueError(
                f"the threshold {self.threshold} does not lie between open ({self.open}) and closed ({self.closed})"
            )
        return self


class Layout(Value):
    """What each dimension of a vector is; every dimension has exactly one place."""

    width: int = Field(ge=1)
    translation: TranslationPart | None = None
    rotation: RotationPart | None = None
    gripper: GripperPart | None = None
    other: dict[str, tuple[int, ...]] = {}
    """What has no place among these, by what it is: joints, the fingers' positions, objects."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        placed = [dimension for dimensions in self.places().values() for dimension in dimensions]
        if sorted(placed) != list(range(self.width)):
            raise ValueError(f"each of the dimensions 0 to {self.width - 1} needs one meaning; described: {placed}")
        return self

    def places(self) -> dict[str, tuple[int, ...]]:
        """Dimensions by part, in the order of this class."""
        parts = {name: getattr(self, name) for name in ("translation", "rotation") if getattr(self, name)}
        places = {name: part.dimensions for name, part in parts.items()}
        return places | ({"gripper": (self.gripper.dimension,)} if self.gripper else {}) | self.other

    def ranges(self) -> dict[int, Range]:
        """Lowest and highest stored number by dimension, of those that have them."""
        parts = (part for part in (self.translation, self.rotation) if part and part.range)
        found = {dimension: part.range for part in parts for dimension in part.dimensions if part.range}
        if self.gripper:
            ends = sorted((self.gripper.closed, self.gripper.open))
            found[self.gripper.dimension] = (ends[0], ends[1])
        return found


class Depth(Value):
    """A camera's depth pictures, which look where its other pictures do: how far away along the view, of each pixel."""

    column: str
    """As the data set's files name it: `agentview_depth`, `observation/depth`."""
    form: Literal["distance", "z-buffer"]
    """z-buffer: OpenGL's, from 0 at the near plane to 1 at the far one, as a renderer gives it."""
    unit_m: float | None = Field(default=None, gt=0)
    """Of distances: metres that 1 stands for, 0.001 for millimetres."""
    near_m: float | None = Field(default=None, gt=0)
    """Of a z-buffer: metres to the near plane, in MuJoCo its `znear` times the model's extent."""
    far_m: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        planes = (self.near_m, self.far_m)
        if (self.form == "distance") != (self.unit_m is not None) or (self.form == "z-buffer") != (None not in planes):
            raise ValueError("a distance has unit_m, a z-buffer has near_m and far_m")
        if self.form == "distance" and planes != (None, None):
            raise ValueError("near_m and far_m belong to a z-buffer")
        if self.near_m is not None and self.far_m is not None and self.near_m >= self.far_m:
            raise ValueError(f"near_m ({self.near_m}) is not below far_m ({self.far_m})")
        return self

    def metres(self, stored: np.ndarray) -> np.ndarray:
        """float64, of numbers as they are stored; NaN where a z-buffer's are not from 0 to 1."""
        values = stored.astype(np.float64)
        if self.unit_m is not None:
            return values * self.unit_m
        assert self.near_m is not None and self.far_m is not None
        inside = np.where((values >= 0) & (values <= 1), values, np.nan)
        return self.near_m / (1 - inside * (1 - self.near_m / self.far_m))


class Description(Value):
    """One data set."""

    name: str
    source: str
    """Where this is said."""
    licence: str
    robot: str
    fps: float | None = Field(default=None, gt=0)
    """Actions a second; absent where copies of the data set differ."""
    cameras: dict[str, str] = {}
    """By name: what it sees, and how its pictures are turned."""
    depth: dict[str, Depth] = {}
    """By the camera's name; read where the files have them (`workbench data convert --description`)."""
    action: Layout
    state: Layout | None = None
    """Absent where copies of the data set differ."""


def ready() -> tuple[str, ...]:
    """The names of the descriptions that come with the workbench."""
    return tuple(sorted(path.stem for path in READY.glob("*.toml")))


def describe(name: str) -> Description:
    """A description by its name, or by the path of a TOML file. Raises UserError, which names file, key and value."""
    path = Path(name) if name.endswith(".toml") else READY / f"{name}.toml"
    if not path.is_file():
        if name.endswith(".toml"):
            raise UserError(f"There is no description {name}. Ready ones: {', '.join(ready())}.")
        raise unknown("description", name, ready())
    try:
        return Description.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}.") from error


def to_toml(description: Description) -> str:
    """The text that `describe` reads back as an equal value."""
    return "\n".join(_lines(description.model_dump(mode="json", exclude_none=True))) + "\n"


def _lines(table: dict[str, Any], path: str = "") -> list[str]:
    # JSON's strings, numbers and arrays are TOML's too; only tables are written differently.
    named = {key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key): value for key, value in table.items()}
    lines = [f"{key} = {json.dumps(value)}" for key, value in named.items() if not isinstance(value, dict)]
    for key, value in named.items():
        if isinstance(value, dict) and value:
            inner = f"{path}{key}"
            lines += ["", f"[{inner}]", *_lines(value, f"{inner}.")]
    return lines
