"""Runs as jobs of a Slurm cluster, through submitit; without `srun` on this machine, as processes of this machine."""

import os
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.engines.contract import Event, Order
from workbench.engines.distant import PENDING, Caller, DistantCrew, caller, cores, do_apart, gpus
from workbench.engines.local import default_workers
from workbench.engines.schedule import share_out
from workbench.errors import UserError
from workbench.plan import Job

try:
    import submitit
    from submitit.core.utils import FailedJobError, UncompletedJobError
    from submitit.helpers import DelayedSubmission
except ImportError as error:
    raise UserError("Runs are given to Slurm with submitit: pip install 'vla-workbench[slurm]'") from error

MINUTES = 24 * 60
"""A job's time limit; sbatch's own SBATCH_TIMELIMIT comes before it."""
PATIENCE = 8.0
"""Seconds that processes of this machine are given to end."""


def carry_out(jobs: Sequence[Job], root: Path, *, workers: int | None) -> Generator[Event, None, None]:
    """The `Engine` of a Slurm cluster: what can be begun is submitted as a job array, `workers` of them at once.

    Each job gets a core for each of its run's processes, and the GPUs that its plan's `compute` names. Partition,
    account, time limit and so on are what sbatch reads from its environment (SBATCH_PARTITION, SBATCH_ACCOUNT,
    SBATCH_TIMELIMIT, SBATCH_GRES).
    """
    return share_out(jobs, root, _Crew(root, workers))


@dataclass(frozen=True)
class _Task:
    """What a job does. Slurm warns before it takes the machine away: the job is queued again, with the next claim."""

    order: Order
    root: Path
    caller: Caller

    def __call__(self) -> Event:
        return do_apart(self.order, self.root, self.caller)

    def checkpoint(self) -> DelayedSubmission:
        """Called by submitit, which then ends this process: its claim is given back on the way out."""
        return DelayedSubmission(replace(self, order=replace(self.order, over=self.order.over + 1)))


class _Crew(DistantCrew):
    def __init__(self, root: Path, workers: int | None) -> None:
        self.executor = submitit.AutoExecutor(folder=root.resolve() / "slurm")
        self.here = self.executor.cluster == "local"
        super().__init__(root, workers or (default_workers() if self.here else PENDING))
        os.environ["OMP_NUM_THREADS"] = "1"
        self.executor.update_parameters(name="workbench", timeout_min=MINUTES, slurm_array_parallelism=self.workers)

    def submit(self, orders: Sequence[Order]) -> Mapping[str, Any]:
        """One job array for each number of GPUs and cores that is needed."""
        needed = {order.id: (gpus(order.job, self.root, auto=0), cores(order.job)) for order in orders}
        jobs: dict[str, Any] = {}
        for count in sorted(set(needed.values())):
            self.executor.update_parameters(gpus_per_node=count[0], cpus_per_task=count[1])
            with self.executor.batch():
                jobs |= {
                    order.id: self.executor.submit(_Task(order, self.root, caller()))
                    for order in orders
                    if needed[order.id] == count
                }
        return jobs

    def ended(self, seconds: float) -> Event | None:
        id = next((id for id, job in self.busy.items() if job.done()), None)
        if id is None:
            time.sleep(seconds)
            return None
        try:
            return self.busy[id].result()
        except (UncompletedJobError, FailedJobError) as error:
            return Event(id, "died", error=f"its job {self.busy[id].job_id} died: {error}")

    def cancel(self) -> None:
        for job in self.busy.values():
            job.cancel(check=False)
        stop = time.monotonic() + PATIENCE
        while self.here and time.monotonic() < stop and not all(job.done() for job in self.busy.values()):
            time.sleep(0.1)
