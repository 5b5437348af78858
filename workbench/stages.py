"""What a slot takes over from the run that it starts from: weights with the low-rank updates in them, or both apart."""

from pathlib import Path

import torch
from torch import nn

from encoders.merged import fold
from workbench.adapters import kept_misfit
from workbench.errors import UserError
from workbench.plan import Finetune, Inject
from workbench.policy import Policy
from workbench.record import open_record
from workbench.spec import SLOTS, Frozen, Lora, SlotName, Spec, Tune
from workbench.training.lora import inject
from workbench.weights import load_slot


def take_over(slot: nn.Module, name: SlotName, run: Path) -> None:
    """Give a new `slot` the weights of the same slot of a finished run, its low-rank updates merged into them.

    Raises UserError where the run is of another model. The global generator is left alone.
    """
    tune = _tune(name, run)
    if isinstance(tune, Lora):
        with torch.random.fork_rng(devices=[]):  # what is drawn is read over
            inject(slot, name, tune)
    load_slot(slot, name, run)
    if isinstance(tune, Lora):
        fold(slot)
        del slot.peft_config  # or peft takes the slot for one that has adapters already


def keep_adapters(policy: Policy, spec: Spec, root: Path) -> None:
    """Give each slot of the adapted `policy` that keeps a run's adapters these, and the weights that they update.

    Raises UserError where the run's LoRA is not that of `spec`.
    """
    for name in SLOTS:
        slot = spec.slot(name)
        if slot.adapters == "kept":
            run = root / slot.weights.removeprefix("run:")
            if misfit := kept_misfit(name, slot.tune, _tune(name, run), f"the run {run.name}"):
                raise UserError(f"{misfit}.")
            load_slot(policy.get_submodule(name), name, run)


def _tune(name: SlotName, run: Path) -> Tune:
    """How the run trained the slot; a run that trained nothing has no weights either."""
    plan = open_record(run.parent, run.name).plan
    return plan.spec.slot(name).tune if isinstance(plan, Finetune | Inject) else Frozen()
