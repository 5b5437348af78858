"""What a process does that another one started to compute a run with: the same steps, and but its shards on disk."""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter

from workbench.plan import Finetune, run_id
from workbench.training.distributed import HERE
from workbench.training.fit import Fit
from workbench.training.group import Group, ProcessLost, joined
from workbench.training.ready import ready


def follow(given: BinaryIO) -> None:
    """Reads its orders from the first line that is `given`, and ends when there is no more to come."""
    for told in (signal.SIGINT, signal.SIGTERM):  # they reach the whole group; the first process decides
        signal.signal(told, signal.SIG_IGN)
    orders = json.loads(given.readline())
    threading.Thread(target=_end_with, args=(given.fileno(),), daemon=True).start()
    plan, root = TypeAdapter(Finetune).validate_python(orders["plan"]), Path(orders["root"])
    print(HERE, flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody listens any more
    try:
        with joined(orders["rank"], plan.compute.processes, meeting=Path(orders["meeting"]), kind=orders["kind"]) as us:
            keep_up(plan, root, us)
    except ProcessLost as error:
        sys.exit(str(error))


def keep_up(plan: Finetune, root: Path, group: Group) -> None:
    """The training of `plan`, beside the first process of `group`."""
    start = ready(plan, root, group)
    Fit(plan, start.policy, start.lesson, start.spot, root / run_id(plan), group).follow()


def _end_with(line: int) -> None:
    """A first process that was killed cannot stop the others; its end of the line closes with it."""
    os.read(line, 1)
    os._exit(1)
