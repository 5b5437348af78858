"""How well policies did that read an encoder: what its probes are set beside."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.plan import Finetune
from workbench.record import Record, open_record
from workbench.spec import Frozen, digest


@dataclass(frozen=True)
class Success:
    """Mean success (0 … 1) of so many policies; `manifest` is that of the episodes that they played."""

    value: float
    policies: int
    manifest: str


def own_success(record: Record) -> Success | None:
    """That of the run's own policy, where it has played."""
    if not isinstance(record.plan, Finetune):
        return None
    return Success(record.result["success"], 1, record.result["manifest"])


def frozen_success(root: Path, weights: Sequence[str]) -> dict[str, Success]:
    """For vision weights (`run:<id>`, `pretrained`): finished policies under `root` that keep them frozen.

    Policies are compared only where nothing but seed and vision weights differs: of all recipes found, the one that
    most of `weights` have, and of these the one with most policies. What that recipe lacks is left out.
    """
    recipes: defaultdict[str, defaultdict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in _finished(root):
        if isinstance(record.plan, Finetune) and isinstance(record.plan.spec.vision.tune, Frozen):
            if record.plan.spec.vision.weights in weights:
                recipes[_recipe(record.plan)][record.plan.spec.vision.weights].append(record)
    if not recipes:
        return {}
    chosen = max(recipes, key=lambda one: (len(recipes[one]), sum(map(len, recipes[one].values())), one))
    return {name: _mean(records) for name, records in recipes[chosen].items()}


def _finished(root: Path) -> Iterable[Record]:
    records = (open_record(root, path.parent.name) for path in sorted(root.glob("*/result.json")))
    return (record for record in records if record.error is None)


def _recipe(plan: Finetune) -> str:
    vision = plan.spec.vision.model_copy(update={"weights": "pretrained"})
    spec = plan.spec.model_copy(update={"vision": vision})
    return digest(plan.model_copy(update={"seed": 0, "spec": spec}))


def _mean(records: Sequence[Record]) -> Success:
    rates = [record.result["success"] for record in records]
    return Success(float(np.mean(rates)), len(rates), records[0].result["manifest"])
