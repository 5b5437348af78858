"""How many parameters a spec trains, before anything is run: its policy is outlined on the meta device and counted."""

from pathlib import Path

import torch

from workbench.adapt import adapt
from workbench.build import build
from workbench.spec import SLOTS, Spec


def trainable_parameters(spec: Spec, *, chunk: int) -> int:
    """Trainable parameters of `spec`; weights are never read, only shapes count."""
    for name in SLOTS:
        spec = spec.with_slot(name, spec.slot(name).model_copy(update={"weights": "random"}))
    with torch.device("meta"):
        policy, _ = build(spec, 0, chunk=chunk, root=Path())
        adapt(policy, spec, seed=0)
    return sum(p.numel() for p in policy.parameters() if p.requires_grad)
