"""What one start of the workbench does, in one process; the fault suite forks many of them from a server that has
imported this module, and so torch, once."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from workbench import execute
from workbench.engines.contract import Crew, Event, Order
from workbench.engines.schedule import share_out
from workbench.engines.work import do
from workbench.plan import Job
from workbench.training import fit
from workbench.training.checkpoint import Keeper

IMPORTED = execute
"""Named so that it is not taken for unused: its import is the point."""


class Alone(Crew):
    """One worker: this process."""

    deaths = 1

    def __init__(self, root: Path):
        self.root, self.told, self.performed = root, list[Event](), list[str]()

    def room(self) -> int:
        return int(not self.told)

    def start(self, orders: Sequence[Order]) -> None:
        said = list[Event]()
        for order in orders:
            self.told.append(do(order, self.root, said.append))
            if said:  # it was carried out, and not found done
                self.performed.append(order.id)

    def listen(self, seconds: float) -> Event | None:
        return self.told.pop() if self.told else None

    def stop(self) -> None:
        pass


def work(jobs: Sequence[Job], root: Path) -> None:
    """What one start of the workbench does, in this process; what it really carried out is left in a file."""
    fit.Keeper = partial(Keeper, share=1e9, first_seconds=0)  # type: ignore[misc]
    crew = Alone(root)
    for event in share_out(jobs, root, crew):
        assert event.stage != "broken", event.error
    (root / f"performed-{os.getpid()}.txt").write_text("\n".join(crew.performed))
