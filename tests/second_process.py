"""A second process of a run that only talks with the first one, about gradients, and then says no more."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workbench.errors import RunFailed
from workbench.training import group
from workbench.training.distributed import HERE
from workbench.training.group import Group, joined

SIZES = ((2, 2), (1,), (2,), (1,), (2,))
BUCKET = 3
"""Numbers in a bucket: the first parameter is larger, the last four are not sent together."""


def talk(both: Group) -> tuple[dict[str, float], list[Any], Any, str]:
    """The sums of figures and gradients, what the first one told, and how a disagreement was refused.

    The first process has gradients of all parameters but the last, the second only of the first two.
    """
    before, group.BUCKET = group.BUCKET, BUCKET
    parameters = [
        nn.Parameter(torch.zeros(size, dtype=torch.float64 if k == 3 else None)) for k, size in enumerate(SIZES)
    ]
    for number, parameter in enumerate(parameters[:-1] if both.rank == 0 else parameters[:2]):
        parameter.grad = torch.full_like(parameter, 10.0**number * (both.rank + 1))
    figures = both.summed({"arm": 0.25, "gripper": both.rank}, parameters)
    group.BUCKET = before
    told = both.told({"from": both.rank})
    both.agree("the same", "nothing")
    refused = ""
    try:
        both.agree(both.rank, "their rank")
    except RunFailed as error:
        refused = str(error)
    return figures, [None if p.grad is None else p.grad.tolist() for p in parameters], told, refused


def main() -> None:
    orders = json.loads(sys.stdin.readline())
    print(HERE, flush=True)
    with joined(orders["rank"], 2, meeting=Path(orders["meeting"]), kind=orders["kind"]) as both:
        talk(both)
        time.sleep(600)
