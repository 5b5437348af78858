"""An engine's name becomes the engine. What an engine takes to run is imported when it is chosen."""

import os
from functools import partial
from typing import assert_never

from workbench.engines.contract import Engine
from workbench.engines.local import carry_out, default_workers
from workbench.engines.means import Means
from workbench.errors import UserError
from workbench.launch import launched
from workbench.record import NO_CACHE


def engine(means: Means) -> Engine:
    """Raises UserError where the engine's packages are missing, and where an address means nothing to it."""
    if means.address is not None and means.engine != "ray":
        raise UserError(f"--address is that of a Ray cluster, but the engine is {means.engine}: add --engine ray.")
    if launched() and (means.engine != "local" or (means.workers or 1) > 1):
        raise UserError("Processes that torchrun started compute one run at a time: leave --engine and --workers out.")
    os.environ[NO_CACHE] = "" if means.cache else "1"  # processes on other machines are told by the crew
    match means.engine:
        case "local":
            return partial(carry_out, workers=1 if launched() else means.workers or default_workers())
        case "ray":
            from workbench.engines import ray

            return partial(ray.carry_out, workers=means.workers, address=means.address)
        case "slurm":
            from workbench.engines import slurm

            return partial(slurm.carry_out, workers=means.workers)
        case _:
            assert_never(means.engine)
