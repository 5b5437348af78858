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
    "action-regression": Facts(
        does="the next actions from one picture, without a language model",
        reads=("actions",),
        reaches=VISION,
        paper="arXiv:2601.03309, §3.2",
    ),
    "inverse-dynamics": Facts(
        does="the actions between two pictures of an episode",
        reads=("later pictures", "actions"),
        reaches=VISION,
        paper="arXiv:1606.07419",
    ),
    "time-contrastive": Facts(
        does="which picture of many is the one a step later",
        reads=("later pictures",),
        reaches=VISION,
        paper="arXiv:1704.06888, §III-A; arXiv:2203.12601",
    ),
    "progress": Facts(
        does="the share of the episode that is over, seen beside its last picture",
        reads=("last picture", "progress"),
        reaches=VISION,
        paper="arXiv:2210.00030, §4",
    ),
    "state": Facts(
        does="the robot's state (tip and gripper) from one picture",
        reads=("state",),
        reaches=VISION,
        paper="none: a supervised target",
    ),
    "masked-image": Facts(
        does="the pixels of hidden patches; nothing but the frames is used",
        reads=(),
        reaches=VISION,
        paper="arXiv:2111.09886, §3",
        control=True,
    ),
    "random-distillation": Facts(
        does="the features of a random encoder: distillation from a teacher that knows nothing",
        reads=(),
        reaches=VISION,
        paper="arXiv:2407.20179, §3",
        control=True,
    ),
}


def facts(objective: str) -> Facts:
    """Raises UserError with the nearest name for an objective that there is not."""
    if objective not in OBJECTIVES:
        raise unknown("objective", objective, OBJECTIVES)
    return OBJECTIVES[objective]
