"""A data set in figures, as plain values that JSON holds: what is in it, and its statistics beside the stored ones."""

from typing import Any

import numpy as np

from workbench.data.problems import differences
from workbench.data.statistics import Normalisation, Scaling, Statistics, round_trip_error
from workbench.data.survey import COLUMNS, Survey
from workbench.errors import UserError

BINS = 20
"""Of a histogram, equally wide from a dimension's lowest value to its highest."""


def contents(numbers: Survey) -> dict[str, Any]:
    """Format, episodes, frames, lengths, cameras, tasks with their episodes, and every dimension's values."""
    dataset = numbers.dataset
    lengths = [episode.length for episode in dataset.episodes]
    return {
        "path": str(dataset.root),
        "format": dataset.format,
        "digest": dataset.digest,
        "episodes": len(lengths),
        "frames": sum(lengths),
        "lengths": {"min": min(lengths), "median": float(np.median(lengths)), "max": max(lengths)},
        "fps": dataset.fps,
        "cameras": list(dataset.cameras),
        "camera": dataset.camera,
        "tasks": numbers.tasks,
        "columns": {column: _dimensions(numbers, column) for column in COLUMNS},
    }


def statistics(numbers: Survey, column: str, clip: float | None) -> dict[str, Any]:
    """Computed and stored statistics of a column, their difference as a share of each dimension's range, and the
    round-trip error of every normalisation; of one that refuses the data, why (under `refused`)."""
    computed = Statistics.from_values(numbers.columns[column])
    stored = numbers.dataset.statistics[column]
    errors: dict[str, list[float]] = {}
    refused: dict[str, str] = {}
    for mode in Normalisation:
        try:
            errors[mode] = round_trip_error(numbers.columns[column], computed, Scaling(mode, clip)).tolist()
        except UserError as error:
            refused[mode] = str(error)
    return {
        "names": list(numbers.names(column)),
        "computed": computed.to_json(),
        "stored": stored.to_json(),
        "difference": {name: values.tolist() for name, values in differences(stored, computed).items()},
        "round_trip_error": errors,
        "refused": refused,
    }


def _dimensions(numbers: Survey, column: str) -> list[dict[str, Any]]:
    values_ND = numbers.columns[column]
    computed = Statistics.from_values(values_ND)
    return [
        {
            "name": name,
            **{figure: float(getattr(computed, figure)[d]) for figure in ("min", "q01", "q99", "max")},
            "histogram": np.histogram(values_ND[:, d], bins=BINS)[0].tolist(),
        }
        for d, name in enumerate(numbers.names(column))
    ]
