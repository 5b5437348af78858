"""Processes that torchrun has started, on one machine or several: the first one does what the user said, with the rest.

They meet in torchrun's own store. The first process, and whoever works for it, puts orders there, one after the other;
the others wait for the next one, and end where there is no more. Light to import.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from workbench.errors import UserError

if TYPE_CHECKING:
    from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]  # exported by a star

LONG = timedelta(days=365)
"""How long the others wait for orders: playing takes its time, and there may be none for them."""
COUNT = "orders"


@dataclass(frozen=True)
class Launch:
    """This process is number `rank` of `size`; all of them reach one store at `host` and `port`.

    `start` counts how often torchrun has started them again; `alone` is whether all are on this machine.
    """

    rank: int
    size: int
    host: str
    port: int
    start: int
    alone: bool

    def order(self, orders: dict[str, Any] | None) -> "Store":
        """Tells the other processes what to do, None to end. They and this one meet in the store that is returned."""
        store = self._store()
        number = store.add(COUNT, 1)
        store.set(str(number), json.dumps(orders))
        return _meeting(store, number)

    def orders(self) -> Iterator[tuple[dict[str, Any], "Store"]]:
        """What the other processes are told, and where they meet, until there is no more."""
        store, number = self._store(), 0
        while True:
            number += 1
            store.wait([str(number)], LONG)
            orders = json.loads(store.get(str(number)))
            if orders is None:
                return
            yield orders, _meeting(store, number)

    def _store(self) -> "Store":
        from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]  # exported by a star

        store = TCPStore(self.host, self.port, is_master=False, wait_for_workers=False)
        return PrefixStore(f"workbench/{self.start}", store)


def _meeting(store: "Store", number: int) -> "Store":
    from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]  # exported by a star

    return PrefixStore(f"run/{number}", store)


def launched() -> Launch | None:
    """None where torchrun has not started this process, or the one that started it."""
    told = os.environ
    if "TORCHELASTIC_RUN_ID" not in told:
        return None
    if told.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise UserError("torchrun was told not to share its store: unset TORCH_DISABLE_SHARE_RDZV_TCP_STORE.")
    return Launch(
        rank=int(told["RANK"]),
        size=int(told["WORLD_SIZE"]),
        host=told["MASTER_ADDR"],
        port=int(told["MASTER_PORT"]),
        start=int(told["TORCHELASTIC_RESTART_COUNT"]),
        alone=told["LOCAL_WORLD_SIZE"] == told["WORLD_SIZE"],
    )


@contextmanager
def one_of_all() -> Iterator[bool]:
    """Whether this process is to do what the user said: the first one. The others help with its runs until it is done.

    Where torchrun has not started it, it is the only one.
    """
    launch = launched()
    if launch is None:
        yield True
        return
    _take_a_gpu()
    if launch.rank > 0:
        from workbench.training.together import attend

        attend(launch)
        yield False
        return
    try:
        yield True
    finally:
        launch.order(None)


def _take_a_gpu() -> None:
    """Leaves torch, which is not yet imported, one GPU to see: that of this process's number on its machine."""
    number = int(os.environ["LOCAL_RANK"])
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = seen.split(",") if seen else []
    os.environ["CUDA_VISIBLE_DEVICES"] = names[number] if number < len(names) else str(number)
