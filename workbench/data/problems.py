"""What is wrong with a data set: each problem has a kind and one sentence."""

# T steps of one episode  N frames of all episodes  D dimensions of a column  H, W pixels

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from workbench.data.dataset import Dataset
from workbench.data.description import Description, Layout
from workbench.data.lerobot_layout import ACTION, STATE
from workbench.data.statistics import NOISE, QUANTILES, Statistics
from workbench.data.survey import COLUMNS, Survey
from workbench.errors import UserError

Kind = Literal[
    "unreadable", "missing-frames", "constant", "duplicate", "statistics", "out-of-range", "described", "black", "still"
]
KINDS: tuple[Kind, ...] = get_args(Kind)

SLACK = 1e-3
"""Share of a dimension's range by which a stored figure may differ from the computed one: room for float32 sums."""
OVERSHOOT = 1e-4
"""Share of a described range by which a value may lie outside."""
UNEVEN_QUATERNION = 1e-2
"""How far a stored quaternion's length may lie from 1."""
BLACK = 8
"""A picture is black where no pixel is brighter than this, of 255."""
STILL = 0.5
"""Share of an episode's pictures that may equal the one before them; a robot pauses, a camera should not freeze."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    kind: Kind
    sentence: str


def number_problems(survey: Survey) -> tuple[Problem, ...]:
    """What the numbers show by themselves: unreadable and short episodes, constants, duplicates, wrong statistics."""
    found = [Problem("unreadable", f"Episode {index}: {why}") for index, why in survey.unreadable.items()]
    for index, length in survey.lengths.items():
        promised = survey.dataset.episodes[index].length
        if length != promised:
            found.append(Problem("missing-frames", f"Episode {index} has {length} of {promised} frames."))
    for column in COLUMNS:
        found += _constants(survey, column)
    found += _duplicates(survey)
    if not survey.unreadable:
        found += _statistics(survey)
    return tuple(found)


def described_problems(survey: Survey, description: Description) -> tuple[Problem, ...]:
    """What differs from the description: cameras, pictures a second, widths, and values outside its ranges."""
    dataset, found = survey.dataset, []
    lacking = [name for name in description.cameras if all(has.split(".")[-1] != name for has in dataset.cameras)]
    if lacking:
        cameras = f"The description's camera {', '.join(lacking)} is missing; there are {', '.join(dataset.cameras)}."
        found.append(Problem("described", cameras))
    if description.fps and dataset.fps and description.fps != dataset.fps:
        rates = f"The data have {dataset.fps:g} frames a second, and the description says {description.fps:g}."
        found.append(Problem("described", rates))
    for column, layout in ((STATE, description.state), (ACTION, description.action)):
        if layout is not None:
            found += _against(survey, column, layout)
    return tuple(found)


def picture_problems(dataset: Dataset, episodes: Sequence[int]) -> Iterator[tuple[Problem, ...]]:
    """Of each of these episodes in turn: pictures that cannot be read, black ones, and ones that stand still."""
    for index in episodes:
        try:
            image_THWC = dataset.episode(index).image
        except UserError as error:
            yield (Problem("unreadable", f"Episode {index}: {error}"),)
            continue
        yield tuple(_pictures(index, image_THWC))


def sampled(count: int, wanted: int) -> tuple[int, ...]:
    """At most `wanted` episodes of `count`, evenly spread, first and last among them."""
    return tuple(np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(int)).tolist())


def differences(stored: Statistics, computed: Statistics) -> dict[str, np.ndarray]:
    """|stored − computed| [D] by figure, as a share of the dimension's range (of 1 where it is constant)."""
    range_D = computed.max - computed.min
    scale_D = np.where(range_D > 0, range_D, 1.0)
    names = ("mean", "std", "min", "max", *QUANTILES)
    return {name: np.abs(getattr(stored, name) - getattr(computed, name)) / scale_D for name in names}


def _constants(survey: Survey, column: str) -> list[Problem]:
    values_ND, names = survey.columns[column], survey.names(column)
    low_D, high_D = values_ND.min(axis=0), values_ND.max(axis=0)
    constant_D = high_D - low_D <= NOISE * np.maximum(np.abs(low_D), np.abs(high_D))
    return [
        Problem("constant", f"Dimension {d} ({names[d]}) of {column} is {low_D[d]:g} in every frame.")
        for d in np.flatnonzero(constant_D)
    ]


def _duplicates(survey: Survey) -> list[Problem]:
    first: dict[str, int] = {}
    found = []
    for index, digest in survey.digests.items():
        before = first.setdefault(digest, index)
        if before != index:
            found.append(Problem("duplicate", f"Episode {index} has the same actions as episode {before}."))
    return found


def _statistics(survey: Survey) -> list[Problem]:
    found = []
    for column in COLUMNS:
        computed, names = Statistics.from_values(survey.columns[column]), survey.names(column)
        stored = survey.dataset.statistics[column]
        # LeRobot averages its quantiles over episodes, so they differ from the exact ones; the others must not.
        for name, difference_D in differences(stored, computed).items():
            worst = int(np.argmax(difference_D))
            if name not in QUANTILES and difference_D[worst] > SLACK:
                told = (
                    f"The stored {name} of {column}, dimension {worst} ({names[worst]}), is "
                    f"{getattr(stored, name)[worst]:.6g}, but the data's is {getattr(computed, name)[worst]:.6g}."
                )
                found.append(Problem("statistics", told))
        if stored.count != computed.count:
            told = f"The stored statistics of {column} count {stored.count} frames, and there are {computed.count}."
            found.append(Problem("statistics", told))
    return found


def _against(survey: Survey, column: str, layout: Layout) -> list[Problem]:
    values_ND, names = survey.columns[column], survey.names(column)
    if values_ND.shape[1] != layout.width:
        told = f"{column} has {values_ND.shape[1]} dimensions, and the description {layout.width}."
        return [Problem("described", told)]
    found = []
    for d, (low, high) in sorted(layout.ranges().items()):
        room = OVERSHOOT * (high - low)
        outside_N = (values_ND[:, d] < low - room) | (values_ND[:, d] > high + room)
        if outside_N.any():
            told = (
                f"Dimension {d} ({names[d]}) of {column} lies outside {low:g} to {high:g} in {outside_N.sum()} of "
                f"{len(outside_N)} frames: it goes from {values_ND[:, d].min():g} to {values_ND[:, d].max():g}."
            )
            found.append(Problem("out-of-range", told))
    if layout.rotation and layout.rotation.form.startswith("quaternion"):
        length_N = np.linalg.norm(values_ND[:, layout.rotation.dimensions], axis=1)
        uneven = int((np.abs(length_N - 1) > UNEVEN_QUATERNION).sum())
        if uneven:
            told = f"The quaternion of {column} has another length than 1 in {uneven} of {len(length_N)} frames."
            found.append(Problem("out-of-range", told))
    return found


def _pictures(index: int, image_THWC: np.ndarray) -> Iterator[Problem]:
    steps = len(image_THWC)
    black = [step for step, picture in enumerate(image_THWC) if picture.max() <= BLACK]
    if black:
        told = f"{len(black)} of {steps} pictures of episode {index} are black, the first at frame {black[0]}."
        yield Problem("black", told)
    same = sum(np.array_equal(image_THWC[t], image_THWC[t - 1]) for t in range(1, steps))
    if steps > 1 and same > STILL * (steps - 1):
        yield Problem("still", f"{same} of {steps - 1} pictures of episode {index} equal the one before them.")
