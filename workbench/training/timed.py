"""What an optimiser step of a training takes here, by the clock."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from workbench.plan import Finetune
from workbench.record import LOG
from workbench.training.distributed import hired
from workbench.training.fit import Fit
from workbench.training.ready import ready


def step_seconds(plan: Finetune, root: Path) -> list[float]:
    """Seconds of each step of `plan` but the first third, in which much is used for the first time.

    It is trained as a run is, with demonstrations that lie under `root`; fetching batches is included, and nothing is
    recorded. Features of a frozen encoder are kept under `root`: a second call finds them.
    """
    with TemporaryDirectory() as folder:
        with hired(plan, root) as group:
            start = ready(plan, root, group)
            Fit(plan, start.policy, start.lesson, start.spot, Path(folder), group).run(lambda done: None)
            if start.features:
                start.features.close()
        rows = [json.loads(row) for row in (Path(folder) / LOG).read_text().splitlines()]
    return [row["train/data_s"] + row["train/update_s"] for row in rows[len(rows) // 3 :]]
