"""Depth pictures of a data set as the small maps that the objective `depth` reads, as a description says."""

# T steps of one episode  H, W pixels  S values a side of a depth map

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from workbench.data.dataset import Dataset
from workbench.data.description import Depth, Description
from workbench.errors import UserError
from workbench.scene import DEPTH, DEPTH_SIDE, depth_names


class WithDepth(ABC):
    """A format that has depth pictures beside its cameras'."""

    @abstractmethod
    def depth(self, index: int, column: str) -> np.ndarray | None:
        """[T, H, W] numbers of an episode as they are stored, turned as its camera's pictures are.

        None where there is no such column. Raises UserError where it is damaged, or no depth pictures.
        """


def depth_of(dataset: Dataset, description: Description) -> Depth | None:
    """What the description says of the depth of the camera that is read; None where that is nothing."""
    told = description.depth.get(dataset.camera)
    if told is not None and not isinstance(dataset, WithDepth):
        raise UserError(
            f"'{description.name}' describes depth pictures. They are read of robomimic's and LIBERO's HDF5 and of "
            f"RLDS, and {dataset.root} is {dataset.format}: leave [depth] out."
        )
    return told


def depth_maps(dataset: Dataset, index: int, told: Depth) -> Mapping[str, np.ndarray]:
    """By the column that they have in LeRobot's format: float32 [T, S·S] metres along the view, row by row.

    Each value is the mean over its part of the picture. Nothing where the data have no such pictures. Raises UserError
    for pictures with holes, or smaller than a map.
    """
    assert isinstance(dataset, WithDepth), "depth_of refuses others"
    stored_THW = dataset.depth(index, told.column)
    if stored_THW is None:
        return {}
    place = f"'{told.column}' of episode {index} of {dataset.root}"
    _, height, width = stored_THW.shape
    if min(height, width) < DEPTH_SIDE:
        raise UserError(f"{place} is {width} x {height} pixels; a depth map has {DEPTH_SIDE} x {DEPTH_SIDE} values.")
    metres_THW = told.metres(stored_THW)
    holes = np.argwhere(~(np.isfinite(metres_THW) & (metres_THW > 0)))
    if len(holes):
        frame, row, column = holes[0]
        raise UserError(
            f"{place} says {stored_THW[frame, row, column]} at frame {frame}, row {row}, column {column}, which is no "
            "distance. Pictures with holes are not read: fill them first."
        )
    return {DEPTH: _small(metres_THW).reshape(len(metres_THW), -1).astype(np.float32)}


def extra_names(extra: Mapping[str, np.ndarray]) -> Mapping[str, tuple[str, ...]]:
    """The names of the values of `depth_maps`."""
    return {name: depth_names() for name in extra}


def _small(metres_THW: np.ndarray) -> np.ndarray:
    """[T, S, S] means of parts that differ by a row and a column at the most."""
    _, height, width = metres_THW.shape
    rows_S, columns_S = (np.arange(DEPTH_SIDE) * edge // DEPTH_SIDE for edge in (height, width))
    sums_TSS = np.add.reduceat(np.add.reduceat(metres_THW.astype(np.float64), rows_S, axis=1), columns_S, axis=2)
    return sums_TSS / np.outer(np.diff([*rows_S, height]), np.diff([*columns_S, width]))
