"""Which injection objectives there are, as facts: known without torch, so that planning a study stays cheap."""

from dataclasses import dataclass

from workbench.errors import unknown
from workbench.spec import SLOTS, SlotName

VISION: tuple[SlotName, ...] = ("vision",)
THROUGH: tuple[SlotName, ...] = SLOTS
"""The action passes every slot, so that every slot has a gradient."""


@dataclass(frozen=True)
class Facts:
    """One objective. `reads` names what it needs beside the image; `reaches` are the slots that its gradient reaches.

    `control`: it teaches nothing of control, and stands beside those that do.
    """

    does: str
    reads: tuple[str, ...]
    reaches: tuple[SlotName, ...]
    paper: str
    control: bool = False


OBJECTIVES: dict[str, Facts] = {
    "behaviour-cloning": Facts(
        does="the next actions through the whole policy, as finetuning does",
        reads=("instruction", "actions"),
        reaches=THROUGH,
        paper="arXiv:2601.03309, §4.4",
    ),
    "permuted-actions": Facts(
        does="behaviour cloning of the actions of other moments of the same task",
        reads=("instruction", "actions"),
        reaches=THROUGH,
        paper="control",
        control=True,
    ),
    "permuted-actions-across-tasks": Facts(
        does="behaviour cloning of the actions of other moments of any task",
        reads=("instruction", "actions"),
        reaches=THROUGH,
        paper="control",
        control=True,
    ),
    "state": Facts(
        does="the robot's state (tip and gripper) from one picture",
        reads=("state",),
        reaches=VISION,
        paper="none: a supervised target",
    ),
}


def facts(objective: str) -> Facts:
    """Raises UserError with the nearest name for an objective that there is not."""
    if objective not in OBJECTIVES:
        raise unknown("objective", objective, OBJECTIVES)
    return OBJECTIVES[objective]
