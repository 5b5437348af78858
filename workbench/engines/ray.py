"""Runs on a Ray cluster: an existing one, or one of this machine that ends with the study."""

import logging
import os
import signal
import socket
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from workbench.engines.contract import Event, Order
from workbench.engines.distant import PENDING, DistantCrew, caller, cores, do_apart, gpus
from workbench.engines.schedule import share_out
from workbench.errors import UserError
from workbench.plan import Job

PATIENCE = 10.0
"""Seconds that a cluster has to answer (Ray itself would wait for minutes), and half as many to end what it does."""
OBJECT_STORE_BYTES = 80 * 2**20
"""Ray's smallest: what runs make goes into files."""

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is imported
try:
    import ray
    from ray.exceptions import RayError
except ImportError as error:
    raise UserError("Runs are given to a cluster with Ray: pip install 'vla-workbench[ray]'") from error


def carry_out(
    jobs: Sequence[Job], root: Path, *, workers: int | None, address: str | None
) -> Generator[Event, None, None]:
    """The `Engine` of the cluster at `address` (or RAY_ADDRESS, or a new one of this machine).

    Each run gets a core for each of its processes, and the GPUs that its plan's `compute` names; `auto` is a GPU where
    the cluster has any.
    Raises UserError where there is no cluster at the address.
    """
    return share_out(jobs, root, _Crew(root, workers, address))


class _Crew(DistantCrew):
    def __init__(self, root: Path, workers: int | None, address: str | None) -> None:
        super().__init__(root, workers or PENDING)
        address = address or os.environ.get("RAY_ADDRESS")
        cluster: dict[str, Any] = {"address": address}
        if address is None:
            cluster = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        else:
            _check_there(address)
        stop = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**cluster, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RayError, ValueError) as error:
            raise UserError(f"There is no Ray cluster at {address}: {error}") from error
        finally:
            signal.signal(signal.SIGTERM, stop)  # Ray would end this process in its own way
        self.task = ray.remote(do_apart)
        self.auto = 1 if ray.cluster_resources().get("GPU", 0) else 0

    def submit(self, orders: Sequence[Order]) -> dict[str, Any]:
        return {order.id: self._submitted(order) for order in orders}

    def _submitted(self, order: Order) -> Any:
        """A task that is not retried by Ray itself: the claim of a dead one has to be looked at first."""
        there = int(ray.cluster_resources().get("CPU", 1))
        wanted = {"num_cpus": min(cores(order.job), there), "num_gpus": gpus(order.job, self.root, auto=self.auto)}
        return self.task.options(**wanted, max_retries=0, name=order.id).remote(order, self.root, caller())

    def ended(self, seconds: float) -> Event | None:
        done, _ = ray.wait([*self.busy.values()], num_returns=1, timeout=seconds)
        if not done:
            return None
        id = next(id for id, task in self.busy.items() if task == done[0])
        try:
            return ray.get(done[0])
        except RayError as error:
            return Event(id, "died", error=f"its worker process died: {str(error).splitlines()[0]}")

    def cancel(self) -> None:
        tasks = [*self.busy.values()]
        for task in tasks:
            ray.cancel(task, force=True)
        if tasks:
            ray.wait(tasks, num_returns=len(tasks), timeout=PATIENCE / 2)
        ray.shutdown()


def _check_there(address: str) -> None:
    """Raises UserError where nobody listens at `[ray://]host:port`. Other forms (`auto`) are left to Ray."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), PATIENCE).close()
        except OSError as error:
            raise UserError(f"There is no Ray cluster at {address} ({error}): start it, or name another.") from error
