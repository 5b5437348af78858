"""The sinks by name, for the command line, which imports nothing heavy."""

from typing import Literal

SinkName = Literal["wandb", "trackio", "tensorboard"]
