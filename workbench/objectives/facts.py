"""Which injection objectives there are, as facts: known without torch, so that planning a study stays cheap.

An objective is a name, a name with a choice behind a colon (`distillation:dinov2-small`,
`fast-tokens:scale=2,vocabulary=64`), or a sum of these with weights: `fast-tokens + 0.5*pointing + 0.1*keep-features`.
"""

import math
import re
from dataclasses import dataclass, replace
from functools import reduce

from workbench.errors import UserError, unknown
from workbench.objectives.fast_settings import is_settings, read_settings
from workbench.objectives.reversal import FILE, REVERSED, read_reversal
from workbench.objectives.rows import OBJECTIVES, Facts
from workbench.skills.facts import SKILLS, is_file, skill_names
from workbench.skills.facts import spelled as spelled_skills
from workbench.spec import SLOTS


@dataclass(frozen=True)
class Term:
    """One objective of a sum, its weight, and what stands behind its colon."""

    weight: float
    name: str
    choice: str

    @property
    def path(self) -> str:
        """What may be a file or a folder of this machine behind the colon; "" where nothing of the kind can be."""
        if self.name == "inverse-dynamics":
            described = self.choice.removeprefix(REVERSED)
            return described if described.endswith(FILE) else ""
        return "" if _has_settings(self.name, self.choice) else self.choice

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
        choice = spelled_skills(choice)
    if name == "inverse-dynamics" and choice:
        choice = f"{REVERSED}{read_reversal(choice)}"
    if _has_settings(name, choice):
        choice = str(read_settings(choice))
    return Term(factor, name, choice)


def _has_settings(name: str, choice: str) -> bool:
    return name == "fast-tokens" and is_settings(choice)


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
