"""Weights & Biases: a project for the study, a group for the arm. Without a key everything stays on this machine."""

import os
from pathlib import Path
from typing import Any

from workbench.errors import UserError
from workbench.record import file_hash
from workbench.sinks.contract import Logged, Sink


class WeightsAndBiases(Sink):
    """Offline, into `folder`, where there is neither a key nor the user's own WANDB_MODE."""

    def __init__(self, folder: Path, study: str) -> None:
        """Raises UserError where the package is missing."""
        try:
            import wandb
        except ImportError as error:
            raise UserError("wandb is not installed: pip install 'vla-workbench[wandb]'") from error
        self.wandb: Any = wandb
        self.folder, self.study = folder, study
        known = "WANDB_MODE" in os.environ or self.wandb.login(prompt=False, verify=False)
        self.mode = None if known else "offline"

    def write(self, run: Logged) -> None:
        version = file_hash(run.record.folder / "result.json")[:6]  # done again, it is another run there
        try:
            shown = self.wandb.init(
                project=run.study,
                id=f"{run.record.id}-{version}",
                name=run.name,
                group=run.arm,
                config=run.config(),
                dir=str(self.folder),
                mode=self.mode,
                resume="allow",
                settings=self._settings(),
            )
            for step, row in run.rows():
                shown.log(row, step=step)
            shown.finish(exit_code=0 if run.record.error is None else 1)
        except self.wandb.errors.Error as error:
            raise UserError(
                f"wandb did not take the run {run.record.id} ({error}). It is recorded all the same: try again with "
                "`workbench log`, or with WANDB_MODE=offline."
            ) from error

    def _settings(self) -> Any:
        """What this process prints and needs is nothing of the run's, and no code leaves the machine."""
        return self.wandb.Settings(
            silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True, x_disable_meta=True
        )

    def where(self) -> str:
        if self.mode == "offline":
            return f"wandb sync {self.folder / 'wandb'}/offline-run-* (written offline: there is no key)"
        return f"project {self.study} at wandb"
