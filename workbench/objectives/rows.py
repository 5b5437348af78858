"""Every injection objective as a row of facts, known without torch."""

from dataclasses import dataclass

from workbench.spec import SLOTS, SlotName

VISION: tuple[SlotName, ...] = ("vision",)
THROUGH: tuple[SlotName, ...] = SLOTS
"""The action passes every slot, so that every slot has a gradient."""
SAID: tuple[SlotName, ...] = ("vision", "projector", "embeddings", "language")
"""An answer is said by the language model: the action head has no part in it."""


@dataclass(frozen=True)
class Facts:
    """One objective. `reads` names what it needs beside the image; `reaches` are the slots that its gradient reaches.

    `control`: it teaches nothing of control, and stands beside those that do. `anchor`: it teaches nothing at all, but
    holds the encoder where it was. `still`: it has no gradient, and a trained slot need not move. `privileged`: it
    reads what only a simulator knows (`data.privileged`). `choice` says what stands behind the colon; one that begins
    with "optional" may be left out.
    """

    does: str
    reads: tuple[str, ...]
    reaches: tuple[SlotName, ...]
    paper: str
    control: bool = False
    anchor: bool = False
    still: bool = False
    privileged: bool = False
    choice: str = ""


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
        choice="optional: reversed=DESCRIPTION of the actions, for pairs shown backwards too",
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
    "fast-tokens": Facts(
        does="the next actions as FAST tokens, said by the language model",
        reads=("instruction", "actions"),
        reaches=SAID,
        paper="arXiv:2601.03309, §4.4; arXiv:2501.09747, §V",
        choice="optional: scale=S,vocabulary=V, or the folder of a published tokenizer",
    ),
    "depth": Facts(
        does="how far away each part of the picture is",
        reads=("depth",),
        reaches=VISION,
        paper="arXiv:1907.01341, §5",
        privileged=True,
    ),
    "pointing": Facts(
        does="where a named thing is, said by the language model",
        reads=("places",),
        reaches=SAID,
        paper="arXiv:2406.10721, §III; arXiv:2407.07726, §3.1",
        privileged=True,
    ),
    "questions": Facts(
        does="answers to questions of some skills",
        reads=("places",),
        reaches=SAID,
        paper="arXiv:2601.03309, §4.3",
        privileged=True,
        choice="skills with commas between, or a file of questions",
    ),
    "distillation": Facts(
        does="the features of another encoder",
        reads=(),
        reaches=VISION,
        paper="arXiv:2407.20179, §3",
        choice="an encoder",
    ),
    "image-text": Facts(
        does="which caption of many belongs to the picture",
        reads=("places",),
        reaches=VISION,
        paper="arXiv:2303.15343, §3",
        privileged=True,
    ),
    "self-distillation": Facts(
        does="the same features of two views of a picture",
        reads=(),
        reaches=VISION,
        paper="arXiv:2104.14294, §3",
    ),
    "captions": Facts(
        does="which colours there are, said by the language model; nothing of where",
        reads=("colours",),
        reaches=SAID,
        paper="control",
        control=True,
        privileged=True,
    ),
    "language-only": Facts(
        does="behaviour cloning of pictures that show nothing",
        reads=("instruction", "actions"),
        reaches=THROUGH,
        paper="control",
        control=True,
    ),
    "other-domain": Facts(
        does="behaviour cloning in a drawn world of discs and noise",
        reads=(),
        reaches=THROUGH,
        paper="control",
        control=True,
    ),
    "sham": Facts(
        does="nothing: the same steps of the optimiser with a loss of zero",
        reads=(),
        reaches=VISION,
        paper="control",
        control=True,
        still=True,
    ),
    "keep-weights": Facts(
        does="weights near those before (L2-SP)",
        reads=(),
        reaches=VISION,
        paper="arXiv:1802.01483, §3",
        anchor=True,
    ),
    "keep-features": Facts(
        does="features of the same pictures like those before",
        reads=(),
        reaches=VISION,
        paper="arXiv:1901.09229, §3",
        anchor=True,
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
