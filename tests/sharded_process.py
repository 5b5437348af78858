"""What two processes train together in tests/test_sharding.py; and, as a program, what the second of them does."""

import json
import math
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from workbench.benchmarks.contract import Protocol
from workbench.launch import one_of_all
from workbench.plan import Budget, Compute, Finetune
from workbench.recipes import Expert
from workbench.spec import Frozen, Lora, Slot, Spec
from workbench.training import fit
from workbench.training.checkpoint import Keeper
from workbench.training.distributed import HERE
from workbench.training.fit import Fit, Fitted
from workbench.training.group import Group, joined
from workbench.training.ready import ready
from workbench.training.sharding import clip, local

DATA = Expert(tasks=("reach",), episodes=4)
BUDGET = Budget(steps=4, batch=5, warmup_steps=1, learning_rate=3e-4)
PROTOCOL = Protocol.model_validate({"tasks": ["reach"], "initial_states": 1})
HEAD = Slot(module="flow-matching", weights="random")
FULL, ADAPTED = "everything, in pieces and computed twice", "a frozen encoder, and adapters that drop out"
SPECS = {
    FULL: Spec(head=HEAD),
    ADAPTED: Spec(
        vision=Slot(tune=Frozen()),
        embeddings=Slot(tune=Frozen()),
        language=Slot(tune=Lora(rank=1, dropout=0.3)),  # of one row: a process has nothing of it
        head=HEAD,
    ),
}
PIECES = {FULL: 2, ADAPTED: 1}
"""That a process computes one after the other."""
INTERRUPTED = 3
"""The step of which a run has told, but not yet kept, when what lies on the disk is copied: as kill -9 leaves it."""


def plan_of(name: str, *, processes: int, dtype: str = "float32") -> Finetune:
    """Sharded over two processes; or the same pieces in one, which has everything."""
    accumulate = PIECES[name] * (1 if processes == 2 else 2)
    compute: dict[str, Any] = {"device": "cpu", "dtype": dtype, "gradient_checkpointing": name == FULL}
    compute |= {"processes": processes, "accumulate": accumulate, "sharding": "full" if processes == 2 else "none"}
    return Finetune(
        spec=SPECS[name], data=DATA, budget=BUDGET, protocol=PROTOCOL, compute=Compute.model_validate(compute)
    )


@dataclass(frozen=True)
class Trained:
    """What the first process has: `held` is the share of the parameters' numbers that it had while it trained."""

    fitted: Fitted
    log: list[dict[str, float]]
    ledger: dict[str, Any]
    weights: dict[str, Tensor]
    held: float


def train(
    plan: Finetune, folder: Path, group: Group, told: Callable[[int], None] = lambda done: None, *, kept: bool = False
) -> Trained | None:
    """The plan's training, with the data beside `folder`; `kept`: a checkpoint after each step until `INTERRUPTED`."""
    start, held = ready(plan, folder.parent, group), 0.0
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "Keeper", partial(Keeper, share=1e9, first_seconds=0 if kept else 600))
        training = Fit(plan, start.policy, start.lesson, start.spot, folder, group)
    if group.rank > 0:
        training.follow()
        return None

    def looked_at(done: int) -> None:
        nonlocal held
        numbers = [(local(p).numel(), p.numel()) for p in start.policy.parameters()]
        held = sum(mine for mine, _ in numbers) / sum(all_of_them for _, all_of_them in numbers)
        told(done)
        if done == INTERRUPTED:
            training.keeper.due_at = math.inf

    fitted = training.run(looked_at)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return Trained(fitted, log, json.loads((folder / "ledger.json").read_text()), start.policy.state_dict(), held)


def copied(folder: Path, done: int) -> None:
    if done == INTERRUPTED:
        shutil.copytree(folder, interrupted(folder))


def interrupted(folder: Path) -> Path:
    return folder.with_name(f"{folder.name} interrupted")


def together(root: Path, group: Group) -> dict[str, Trained | None]:
    """All that both processes do, in this order."""
    found = {FULL: train(plan_of(FULL, processes=2), root / FULL, group)}
    plan, folder = plan_of(ADAPTED, processes=2), root / ADAPTED
    found[ADAPTED] = train(plan, folder, group, partial(copied, folder), kept=True)
    group.told(None)  # the copy is there
    found["two after two"] = train(plan, interrupted(folder), group)
    found["two after one"] = train(plan, interrupted(root / "alone"), group)
    return found


def clipped(group: Group) -> tuple[float, list[list[float]]]:
    """The norm of known gradients, 1 2 3 of a sharded tensor and 4 of a whole one, and what clipping leaves of them."""
    layer, other = nn.Linear(1, 3, bias=False), nn.Parameter(torch.zeros(1))
    fully_shard(layer, mesh=init_device_mesh("cpu", (group.size,)))
    layer.weight.grad = torch.empty_like(layer.weight)
    mine = torch.tensor([[1.0], [2.0], [3.0]]).tensor_split([2])[group.rank]
    local(layer.weight.grad).copy_(mine)
    other.grad = torch.tensor([4.0])
    norm = float(clip([*layer.parameters(), other], 0.5, group=group))
    return norm, [*group.all(local(layer.weight.grad).flatten().tolist()), other.grad.tolist()]


def main() -> None:
    orders = json.loads(sys.stdin.readline())
    print(HERE, flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    torch.set_num_threads(1)
    with joined(orders["rank"], 2, meeting=Path(orders["meeting"]), kind=orders["kind"]) as both:
        root = Path(orders["root"])
        clipped(both)
        together(root, both)
        train(plan_of(FULL, processes=2), root / "lost", both)


def started_by_torchrun(plan: str, root: str) -> None:
    """What the program does that torchrun starts: as the command line does it, of one run."""
    with one_of_all() as first:
        if first:
            from workbench.execute import execute

            execute(Finetune.model_validate_json(plan), Path(root))


if __name__ == "__main__":
    started_by_torchrun(*sys.argv[1:])
