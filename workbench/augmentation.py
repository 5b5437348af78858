"""How the pictures of an injection are changed while it is trained, as a value. No torch here: it is part of plans."""

from pydantic import Field

from workbench.objectives.facts import facts
from workbench.spec import Value

PLACED = ("places", "depth")
"""What an objective may read that would have to move with the picture."""


class Augmentation(Value):
    """The widest of the changes that are drawn anew for each moment, uniformly; by default none.

    `shift` is in pixels of the picture, up or down and left or right, its edges repeated (DrQ's, arXiv:2004.13649,
    §3.1). Levels are multiplied by 1 ± `brightness`, and their distances from mid-grey by 1 ± `contrast`.
    """

    shift: int = Field(default=0, ge=0)
    brightness: float = Field(default=0.0, ge=0, lt=1)
    contrast: float = Field(default=0.0, ge=0, lt=1)


UNCHANGED = Augmentation()


def check_augmentation(objective: str, augmentation: Augmentation) -> None:
    """Raises ValueError where a shift would make what the objective tells of the picture wrong."""
    placed = [name for name in facts(objective).reads if name in PLACED]
    if augmentation.shift and placed:
        raise ValueError(
            f"augmentation.shift is {augmentation.shift}, but the objective {objective!r} reads {placed[0]}, and "
            "labels stay where they are while the picture moves: leave shift out"
        )
