"""Which sinks there are: one row each. The package behind one is imported when it is opened."""

from collections.abc import Callable
from pathlib import Path

from workbench.sinks.contract import Sink
from workbench.sinks.names import SinkName
from workbench.sinks.tensorboard import TensorBoard
from workbench.sinks.trackio import Trackio
from workbench.sinks.wandb import WeightsAndBiases

SINKS: dict[SinkName, Callable[[Path, str], Sink]] = {
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
    "tensorboard": TensorBoard,
}


def sink_folder(root: Path, name: SinkName, study: str) -> Path:
    return root / "logs" / name / study


def open_sink(name: SinkName, root: Path, study: str) -> Sink:
    """The sink of a study. Raises UserError where its package is missing."""
    return SINKS[name](sink_folder(root, name, study), study)
