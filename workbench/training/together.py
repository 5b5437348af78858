"""Runs by processes that torchrun has started: the first one executes, the others hear of each run and follow."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]  # exported by a star

from workbench.compute import place
from workbench.errors import RunFailed, UserError
from workbench.launch import Launch
from workbench.plan import Finetune, Inject
from workbench.record import NO_CACHE
from workbench.training.follow import keep_up
from workbench.training.group import ALONE, Group, ProcessLost, joined

REMEDY = "Start again: it goes on after its last checkpoint, with this or another number of processes."


@contextmanager
def gathered(plan: Finetune | Inject, root: Path, launch: Launch) -> Iterator[Group]:
    """The group of all processes, of which this is the first; alone where the plan does not divide its batches.

    Raises UserError where they cannot have as many pieces each.
    """
    pieces = plan.compute.pieces
    if pieces == 1:
        yield ALONE
        return
    if pieces % launch.size:
        raise UserError(
            f"torchrun started {launch.size} processes, but compute.processes × compute.accumulate is {pieces}: start "
            "a number of them that divides it."
        )
    kind = place(plan.compute).device.type
    orders = {"plan": plan.model_dump(mode="json"), "root": str(root.resolve()), "kind": kind}
    meeting = launch.order(orders | {"threads": torch.get_num_threads(), "no_cache": os.environ.get(NO_CACHE, "")})
    try:
        with joined(0, launch.size, meeting=meeting, kind=kind, alone=launch.alone) as group:
            yield group
    except ProcessLost as error:
        raise ProcessLost(f"{error} {REMEDY}") from error


def attend(launch: Launch) -> None:
    """What all processes but the first do, until it is done."""
    for orders, meeting in launch.orders():
        try:
            _attend_one(orders, meeting, launch)
        except (UserError, RunFailed):  # the first process meets the same, or misses this one; it tells of it
            continue


def _attend_one(orders: dict[str, Any], meeting: Store, launch: Launch) -> None:
    plan = TypeAdapter(Finetune).validate_python(orders["plan"])
    torch.set_num_threads(orders["threads"])
    os.environ[NO_CACHE] = orders["no_cache"]
    with joined(launch.rank, launch.size, meeting=meeting, kind=orders["kind"], alone=launch.alone) as group:
        if (kind := place(plan.compute).device.type) != orders["kind"]:
            raise UserError(f"Process {launch.rank} computes on {kind}, the first one on {orders['kind']}.")
        keep_up(plan, Path(orders["root"]), group)
