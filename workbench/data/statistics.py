"""Statistics of a feature, and the scalings that are made from them."""

# N values  D dimensions of the feature  C colour channels  L = 256 levels of a byte

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

import numpy as np

from workbench.errors import UserError

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
STATISTICS = ("mean", "std", "min", "max", *QUANTILES)
NOISE = 1e-7
"""A spread below this share of what it is compared with is rounding: float32 carries no more."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """One feature over a dataset. Arrays are float64 [D] ([3, 1, 1] for images, whose levels are scaled to [0, 1])."""

    mean: np.ndarray
    std: np.ndarray
    """Of the population: divided by N, as LeRobot does."""
    min: np.ndarray
    max: np.ndarray
    q01: np.ndarray
    q10: np.ndarray
    q50: np.ndarray
    q90: np.ndarray
    q99: np.ndarray
    count: int
    """Frames that were counted."""

    @classmethod
    def from_values(cls, values: np.ndarray) -> "Statistics":
        """Exact statistics of `values` [N, D], N >= 1; quantiles interpolate linearly."""
        exact_ND = values.astype(np.float64)
        quantiles = np.quantile(exact_ND, list(QUANTILES.values()), axis=0)
        return cls(
            mean=exact_ND.mean(axis=0),
            std=exact_ND.std(axis=0),
            min=exact_ND.min(axis=0),
            max=exact_ND.max(axis=0),
            count=len(exact_ND),
            **dict(zip(QUANTILES, quantiles, strict=True)),
        )

    @classmethod
    def from_histogram(cls, pixels_CL: np.ndarray, frames: int) -> "Statistics":
        """Exact statistics [C, 1, 1] of images in [0, 1], from the number of pixels at each of the 256 levels.

        A quantile is the lowest level that at least this share of the pixels does not exceed.
        """
        level_L = np.arange(pixels_CL.shape[1]) / 255
        share_CL = pixels_CL / pixels_CL.sum(axis=1, keepdims=True)
        mean_C = share_CL @ level_L
        variance_C = (share_CL * (level_L - mean_C[:, None]) ** 2).sum(axis=1)
        below_CL = share_CL.cumsum(axis=1)
        figures = {
            "mean": mean_C,
            "std": np.sqrt(variance_C),
            "min": level_L[(pixels_CL > 0).argmax(axis=1)],
            "max": level_L[::-1][(pixels_CL[:, ::-1] > 0).argmax(axis=1)],
            **{name: level_L[(below_CL >= q - 1e-12).argmax(axis=1)] for name, q in QUANTILES.items()},
        }
        return cls(count=frames, **{name: figure_C[:, None, None] for name, figure_C in figures.items()})

    @classmethod
    def from_json(cls, record: Mapping[str, object], feature: str) -> "Statistics":
        """What `to_json` gave; raises UserError that names `feature` where a figure is missing or not finite."""
        missing = [name for name in (*STATISTICS, "count") if name not in record]
        if missing:
            raise UserError(
                f"The statistics of '{feature}' lack {', '.join(missing)} (present: {', '.join(sorted(record))}). "
                "Compute the dataset's statistics again; LeRobot has a script that adds quantiles to older datasets."
            )
        try:
            figures = {name: np.asarray(record[name], dtype=np.float64) for name in STATISTICS}
            count = int(np.asarray(record["count"]).item())
        except (TypeError, ValueError) as error:
            raise UserError(f"The statistics of '{feature}' are not numbers: {error}.") from error
        for name, figure in figures.items():
            if not np.isfinite(figure).all() or figure.shape != figures["mean"].shape:
                raise UserError(
                    f"The statistic '{name}' of '{feature}' is not finite or not as wide as its mean: "
                    f"{figure.tolist()}. Compute the dataset's statistics again."
                )
        return cls(count=count, **figures)

    def to_json(self) -> dict[str, list]:
        """Nested lists of numbers under LeRobot's names, as they lie in `meta/stats.json`."""
        return {name: getattr(self, name).tolist() for name in STATISTICS} | {"count": [self.count]}


class Normalisation(StrEnum):
    """How a feature is scaled; the names are LeRobot's."""

    IDENTITY = "IDENTITY"
    """Left as it is."""
    MEAN_STD = "MEAN_STD"
    """To mean 0, standard deviation 1."""
    MIN_MAX = "MIN_MAX"
    """[min, max] to [−1, 1]."""
    QUANTILES = "QUANTILES"
    """[q01, q99] to [−1, 1]; values beyond the quantiles lie outside and are not clipped."""


def normalise(values: np.ndarray, statistics: Statistics, mode: Normalisation) -> np.ndarray:
    """float32 [..., D] of the same shape, scaled by `mode`.

    A constant dimension (one that the demonstrations never moved: an unused rotation) becomes 0 whatever its value,
    so that a policy never sees noise divided by nothing. Raises UserError where D is not the statistics' width, and
    where QUANTILES would lose a dimension that moves so rarely that its quantiles are equal.
    """
    centre_D, half_D = _centre_and_half(values, statistics, mode)
    moves_D = half_D > 0
    scaled = np.where(moves_D, (values - centre_D) / np.where(moves_D, half_D, 1.0), 0.0)
    return scaled.astype(np.float32)


def denormalise(values: np.ndarray, statistics: Statistics, mode: Normalisation) -> np.ndarray:
    """The inverse of `normalise`, float32; a constant dimension becomes its constant. The same errors."""
    centre_D, half_D = _centre_and_half(values, statistics, mode)
    return (values * half_D + centre_D).astype(np.float32)


def _centre_and_half(values: np.ndarray, statistics: Statistics, mode: Normalisation) -> tuple[np.ndarray, np.ndarray]:
    """[D] each: what becomes 0, and the distance from it that becomes 1 (0 for a constant dimension)."""
    if values.shape[-1:] != statistics.mean.shape:
        raise UserError(
            f"Values of shape {list(values.shape)} cannot be scaled by statistics of shape "
            f"{list(statistics.mean.shape)}. Use the statistics of the dataset that the policy was trained on."
        )
    range_D = statistics.max - statistics.min
    constant_D = range_D <= NOISE * np.maximum(np.abs(statistics.min), np.abs(statistics.max))
    match mode:
        case Normalisation.IDENTITY:
            return np.zeros_like(statistics.mean), np.ones_like(statistics.mean)
        case Normalisation.MEAN_STD:
            low_D, high_D = statistics.mean - statistics.std, statistics.mean + statistics.std
        case Normalisation.MIN_MAX:
            low_D, high_D = statistics.min, statistics.max
        case Normalisation.QUANTILES:
            low_D, high_D = statistics.q01, statistics.q99
            rare = np.flatnonzero((high_D - low_D <= NOISE * range_D) & ~constant_D)
            if len(rare):
                raise UserError(
                    f"QUANTILES cannot scale dimension {', '.join(map(str, rare))}: q01 equals q99 although some "
                    "frames lie outside them. Choose MIN_MAX or MEAN_STD."
                )
        case _:
            assert_never(mode)
    return np.where(constant_D, statistics.min, (low_D + high_D) / 2), np.where(constant_D, 0.0, (high_D - low_D) / 2)


@dataclass(frozen=True)
class Scaling:
    """A normalisation, and optionally a clip after it; VLM4VLA trains on actions clipped at 0.65 (arXiv:2601.03309)."""

    mode: Normalisation
    clip: float | None = None
    """Scaled values beyond ±clip are cut there, and ±clip becomes ±1. What was cut does not come back."""

    def __post_init__(self) -> None:
        if self.clip is not None and not 0 < self.clip <= 1:
            raise UserError(f"Scaled values are clipped at more than 0 and at most 1, not at {self.clip}.")

    def normalise(self, values: np.ndarray, statistics: Statistics) -> np.ndarray:
        """float32 [..., D]. The errors of `normalise`."""
        scaled = normalise(values, statistics, self.mode)
        return scaled if self.clip is None else scaled.clip(-self.clip, self.clip) / np.float32(self.clip)

    def denormalise(self, values: np.ndarray, statistics: Statistics) -> np.ndarray:
        """float32 [..., D]: the inverse for all that was not cut. The errors of `denormalise`."""
        return denormalise(values if self.clip is None else values * np.float32(self.clip), statistics, self.mode)


def round_trip_error(values: np.ndarray, statistics: Statistics, scaling: Scaling) -> np.ndarray:
    """float64 [D]: how far a value of `values` [N, D] is, at most, from what normalising and back make of it."""
    there = scaling.normalise(values, statistics)
    return np.abs(scaling.denormalise(there, statistics).astype(np.float64) - values).max(axis=0)
