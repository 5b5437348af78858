"""TensorBoard: a folder of event files for each run, below one for the study."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from workbench.errors import UserError
from workbench.sinks.contract import Logged, Sink, behind


class TensorBoard(Sink):
    """Writes `folder/<run>/`, all of it or nothing."""

    def __init__(self, folder: Path, study: str) -> None:
        """Raises UserError where the package is missing."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                f"tensorboard is not installed ({error.name}): pip install 'vla-workbench[tensorboard]'"
            ) from error
        self.writer: Any = SummaryWriter
        self.folder = folder

    def write(self, run: Logged) -> None:
        whole = self.folder / re.sub(r"[^\w.=-]+", "-", f"{run.name}-{run.record.id}")
        aside = whole.with_name(f".{whole.name}.tmp")
        for left in (whole, aside):  # of another run of this plan, or of a call that was killed
            shutil.rmtree(left, ignore_errors=True)
        events = self.writer(str(aside))
        for step, row in run.rows():
            for key, value in row.items():
                events.add_scalar(key, value, step)
        events.add_text("plan", f"```json\n{json.dumps(run.config(), indent=1)}\n```")
        if run.record.error is not None:
            events.add_text("failed", run.record.error, behind(run.record.log()))
        events.close()
        os.replace(aside, whole)

    def where(self) -> str:
        return f"tensorboard --logdir {self.folder}"
