"""The statistics of a LeRobot dataset: its own, with quantiles computed where an older LeRobot wrote none."""

# E episodes  N frames  D values of a column

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.lerobot_layout import ACTION, STATE, STATISTICS, Info
from workbench.data.lerobot_read import AGAIN, matrix, read_json, read_table
from workbench.data.statistics import QUANTILES, Statistics
from workbench.errors import UserError

BASIC = ("mean", "std", "min", "max", "count")
"""What LeRobot wrote before 0.4."""


def read_statistics(root: Path, info: Info, files: Iterable[Path]) -> dict[str, Statistics]:
    """Of `meta/stats.json`, by feature. Those of the state and of the action are there, with exact quantiles of all
    frames where the file has none (as LeRobot's conversion from v2.1 leaves it); others without quantiles are left out.

    Raises UserError where a figure, or the state's or the action's, are missing or of another width.
    """
    records = read_json(root / STATISTICS)
    check_widths(root / STATISTICS, records, info)
    whole = {name: Statistics.from_json(record, name) for name, record in records.items() if not _basic(record)}
    lacking = [name for name in (STATE, ACTION) if name not in whole]
    return whole | (with_quantiles({name: records[name] for name in lacking}, info, files) if lacking else {})


def with_quantiles(records: Mapping[str, dict], info: Info, files: Iterable[Path]) -> dict[str, Statistics]:
    """Statistics of these features from records without quantiles, which are computed from all frames of the files.

    Raises UserError that names a value that is not finite.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in records}
    for path in dict.fromkeys(files):
        table = read_table(path, [*records])
        for name, values in parts.items():
            values.append(_finite(matrix(table, name, info.features[name].shape[0], path), name, path))
    levels = list(QUANTILES.values())
    quantiles = {name: np.quantile(np.concatenate(v).astype(np.float64), levels, axis=0) for name, v in parts.items()}
    return {
        name: Statistics.from_json({**record, **dict(zip(QUANTILES, quantiles[name], strict=True))}, name)
        for name, record in records.items()
    }


def aggregated(records_E: Sequence[Mapping[str, Any]], feature: str) -> dict[str, np.ndarray]:
    """The record of all episodes from the episodes' own: weighted by their counts, as LeRobot does.

    The variance is that within the episodes plus that of their means. Raises UserError where a figure is missing.
    """
    try:
        mean_ED, std_ED, min_ED, max_ED, count_E1 = (
            np.array([np.asarray(record[name], np.float64).ravel() for record in records_E]) for name in BASIC
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"The statistics of an episode's '{feature}' lack {', '.join(BASIC)}, or are not numbers of one width "
            f"({error}). {AGAIN}"
        ) from error
    share_E1 = count_E1 / count_E1.sum()
    mean_D = (share_E1 * mean_ED).sum(axis=0)
    variance_D = (share_E1 * (std_ED**2 + (mean_ED - mean_D) ** 2)).sum(axis=0)
    return {
        "mean": mean_D,
        "std": np.sqrt(variance_D),
        "min": min_ED.min(axis=0),
        "max": max_ED.max(axis=0),
        "count": count_E1.sum(axis=0),
    }


def check_widths(path: Path, records: Mapping[str, Mapping[str, Any]], info: Info) -> None:
    """Raises UserError where the state's or the action's mean is missing or of another width."""
    for feature in (STATE, ACTION):
        width = info.features[feature].shape[0]
        if np.shape(records.get(feature, {}).get("mean", ())) != (width,):
            raise UserError(f"{path} has no statistics of '{feature}' for its {width} dimensions. {AGAIN}")


def _basic(record: Mapping[str, Any]) -> bool:
    return not any(name in record for name in QUANTILES)


def _finite(values: np.ndarray, column: str, path: Path) -> np.ndarray:
    broken = np.argwhere(~np.isfinite(values))
    if len(broken):
        row, dimension = broken[0]
        raise UserError(
            f"Column '{column}' is {values[row, dimension]} in dimension {dimension} at row {row} of {path}. {AGAIN}"
        )
    return values
