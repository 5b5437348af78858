"""Which injection objectives there are, as facts: known without torch, so that planning a study stays cheap.

An objective is a name, a name with a choice behind a colon (`distillation:dinov2-small`), or a sum of these with
weights: `fast-tokens + 0.5*pointing + 0.1*keep-features`.
"""

import math
import re
from dataclasses import dataclass, replace
from functools import reduce

from workbench.errors import UserError, unknown
from workbench.skills.facts import SKILLS, is_file, skill_names
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
        choice="optional: the folder of a published tokenizer",
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
        does="answers to questions of one skill",
        reads=("places",),
        reaches=SAID,
        paper="arXiv:2601.03309, §4.3",
        privileged=True,
        choice="a skill, or a file of questions",
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


@dataclass(frozen=True)
class Term:
    """One objective of a sum, its weight, and what stands behind its colon."""

    weight: float
    name: str
    choice: str

    def __str__(self) -> str:
        spelled = f"{self.name}:{self.choice}" if self.choice else self.name
        return spelled if self.weight == 1 else f"{self.weight:.12g}*{spelled}"


_PLUS = re.compile(rf"\s\+\s|(?<!\d[eE])\+(?=\s*(?:[^\s*+:]+\s*\*\s*)?(?:{'|'.join(OBJECTIVES)})(?![\w-]))")
"""Between spaces, or before the name of an objective: `fused:A+B` is one encoder, and 1e+06 one number."""


def terms(objective: str) -> tuple[Term, ...]:
    """The objectives of a sum. Raises UserError that names a mistake and, for a name, the nearest one."""
    found = tuple(_term(part.strip()) for part in _PLUS.split(objective))
    names = [(term.name, term.choice) for term in found]
    if len(set(names)) < len(names):
        raise UserError(f"The objective {objective!r} names one of its parts twice: add their weights.")
    if all(OBJECTIVES[term.name].anchor for term in found):
        raise UserError(f"The objective {objective!r} only holds the encoder where it is: add one that teaches it.")
    return found


def spelled(objective: str) -> str:
    """The one spelling of an objective. Raises UserError as `terms` does."""
    return " + ".join(str(term) for term in terms(objective))


def facts(objective: str) -> Facts:
    """Of one objective, or of a sum: what any of its parts reads and reaches. Raises UserError as `terms` does."""
    return reduce(_together, (_facts(term) for term in terms(objective)))


def _facts(term: Term) -> Facts:
    """A skill may be a control; a file of questions brings its own pictures and reads nothing of the data."""
    known = OBJECTIVES[term.name]
    if term.name != "questions":
        return replace(known)
    if is_file(term.choice):
        return replace(known, reads=(), privileged=False)
    return replace(known, control=all(SKILLS[skill].control for skill in skill_names(term.choice)))


def _term(text: str) -> Term:
    weight, times, spelled = text.partition("*")
    if not times or ":" in weight:  # there is none, but perhaps a star in a file's name
        weight, spelled = "1", text
    try:
        factor = float(weight)
    except ValueError as error:
        raise UserError(f"The weight {weight!r} in {text!r} is no number: write 0.5*pointing.") from error
    if not (math.isfinite(factor) and factor > 0):
        raise UserError(f"The weight of an objective is above 0, and not {weight} as in {text!r}.")
    name, _, choice = (part.strip() for part in spelled.partition(":"))
    if name not in OBJECTIVES:
        raise unknown("objective", name, OBJECTIVES)
    wanted = OBJECTIVES[name].choice
    if choice and not wanted:
        raise UserError(f"The objective {name!r} takes nothing behind a colon, but {text!r} gives {choice!r}.")
    if wanted and not choice and not wanted.startswith("optional"):
        raise UserError(f"The objective {name!r} needs {wanted} behind a colon: {name}:…")
    if name == "questions" and not is_file(choice):
        skill_names(choice)
    return Term(factor, name, choice)


def _together(a: Facts, b: Facts) -> Facts:
    """A sum teaches nothing of control where none of its parts does; an anchor does not count."""
    teaching = [one for one in (a, b) if not one.anchor]
    return Facts(
        does=f"{a.does}; {b.does}",
        reads=tuple(dict.fromkeys((*a.reads, *b.reads))),
        reaches=tuple(slot for slot in SLOTS if slot in (*a.reaches, *b.reaches)),
        paper=f"{a.paper}; {b.paper}",
        control=all(one.control for one in teaching),
        anchor=not teaching,
        still=all(one.still for one in teaching),
        privileged=a.privileged or b.privileged,
    )
