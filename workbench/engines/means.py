"""With what runs are carried out, as the command line says it; light to import."""

from dataclasses import dataclass
from typing import Literal

EngineName = Literal["local", "ray", "slurm"]


@dataclass(frozen=True)
class Means:
    """An engine, how many runs at once (None: as many as it has room for), and the address of a Ray cluster.

    `cache` is whether features of frozen encoders are kept, in every process that the engine starts.
    """

    engine: EngineName = "local"
    workers: int | None = None
    address: str | None = None
    cache: bool = True
