"""How many parameters a spec trains, before anything is run: its policy is outlined on the meta device and counted."""

from pathlib import Path

import torch

from workbench.adapt import adapt
from workbench.build import build
from workbench.spec import Spec, with_random_weights


def trainable_parameters(spec: Spec, *, chunk: int) -> int:
    """Trainable parameters of `spec`; weights are never read, only shapes count."""
    spec = with_random_weights(spec)
    with torch.device("meta"):
        policy, _ = build(spec, 0, chunk=chunk, root=Path())
        adapt(policy, spec, seed=0)
    return sum(p.numel() for p in policy.parameters() if p.requires_grad)
