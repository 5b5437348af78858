"""Trackio: a local project for the study, on this machine."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from workbench.errors import UserError
from workbench.sinks.contract import Logged, Sink


class Trackio(Sink):
    """Writes where trackio keeps its projects (`TRACKIO_DIR`)."""

    def __init__(self, folder: Path, study: str) -> None:
        """Raises UserError where the package is missing."""
        try:
            import trackio
        except ImportError as error:
            raise UserError("trackio is not installed: pip install 'vla-workbench[trackio]'") from error
        self.trackio: Any = trackio
        self.study = study

    def write(self, run: Logged) -> None:
        with redirect_stdout(sys.stderr):  # it greets
            shown = self.trackio.init(
                project=run.study,
                name=f"{run.name} ({run.record.id})",
                group=run.arm,
                config=dict(run.config()),
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
            for step, row in run.rows():
                shown.log(row, step=step)
            shown.finish()

    def where(self) -> str:
        return f"trackio show --project {self.study}"
