"""Which skills a vision-language model can be taught and asked, as facts: known without torch or a simulator."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.errors import UserError, unknown

ALL = "all"
FILES = (".json", ".jsonl", ".parquet")
"""Endings of files of questions."""


@dataclass(frozen=True)
class SkillFacts:
    """One skill. `paper` has questions of its kind; `control`: it says nothing of where anything is."""

    does: str
    paper: str
    control: bool = False


SKILLS: dict[str, SkillFacts] = {
    "pointing": SkillFacts("where a named thing or the gripper is", "arXiv:2406.10721, §III"),
    "colours": SkillFacts("which colours there are", "arXiv:2601.03309, §4.3", control=True),
    "spatial": SkillFacts("on which side of a thing another one is", "arXiv:2401.12168, §3"),
    "distance": SkillFacts("which of two things is nearer to a third; how far apart two are", "arXiv:2401.12168, §3"),
    "affordance": SkillFacts("where to grasp for an instruction", "arXiv:2406.10721, §III"),
    "planning": SkillFacts("the next step of an instruction", "arXiv:2305.15021, §3"),
    "trajectory": SkillFacts("which of two moves brings the gripper nearer a thing", "arXiv:2505.15517, §3"),
    "order": SkillFacts("which of two frames of an episode came first", "arXiv:2505.15517, §3"),
    "depth": SkillFacts("which of two things is nearer the camera; how far away one is", "arXiv:2401.12168, §3"),
    "size": SkillFacts("which of two things is larger, in metres and in the picture", "arXiv:2401.12168, §3"),
    "viewpoint": SkillFacts(
        "what is further left from another side of the table; whether the gripper is nearer the camera than a thing",
        "arXiv:2412.14171, §3",
    ),
    "segmentation": SkillFacts("which cells of a grid show a thing", "arXiv:2601.03309, §4.3"),
    "depth-row": SkillFacts("how far away each cell of a row of the picture is", "arXiv:2601.03309, §4.3"),
}
ALL_OF = ("pointing", "colours", "spatial", "distance", "affordance", "planning", "trajectory", "order", "depth")
"""What `all` means, and goes on meaning, since a run of it keeps its id: later skills are added by their names."""


def is_file(choice: str) -> bool:
    """Whether a choice of questions is a file of them, and no skill."""
    return choice.endswith(FILES)


def skill_names(choice: str) -> tuple[str, ...]:
    """The skills that a choice names, commas between them. Raises UserError for one that is none or there twice."""
    chosen = [skill for name in spelled(choice).split(",") for skill in (ALL_OF if name == ALL else (name,))]
    return _checked(chosen, [*SKILLS, ALL, *(f"a file that ends in {ending}" for ending in FILES)])


def spelled(choice: str) -> str:
    """The one spelling of a choice."""
    return ",".join(name.strip() for name in choice.split(","))


def taught(names: str | None) -> tuple[str, ...]:
    """Skills by their names with commas between, or every one. Raises UserError for one that is none or there twice."""
    return tuple(SKILLS) if names is None else _checked(spelled(names).split(","), list(SKILLS))


def _checked(names: Sequence[str], choices: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if name not in SKILLS:
            raise unknown("skill", name, choices)
        if names.count(name) > 1:
            raise UserError(f"The skill {name!r} is named twice.")
    return tuple(names)
