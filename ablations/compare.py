"""Encoders against each other: from a study to the study that compares them, and the value that its answer is.

The reference of every swap is the native encoder through the same new adapter, since an adapter alone changes success.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ablations.arms import Arm, Contrast
from ablations.study import Study
from ablations.table import Table
from workbench.edits import Edit, Replace
from workbench.errors import UserError
from workbench.spec import Value, digest

REFERENCE = "native-through-adapter"
ADAPTER = Replace(slot="projector", module="mlp", weights="random", tokens="match")
SHOWN = {"study", "question", "backbone", "head", "benchmark", "manifest", "selection", "episodes"} | {
    "contrasts",
    "arms",
    "notes",
}
"""What a comparison takes over from the table of its study; no slot of it was frozen."""

Start = Literal["pretrained", "random"]


class EncoderRow(Value):
    """What an encoder is and costs. `name` is the one that was asked for, or the native encoder's; `arm` its arm.

    `flops` are of one image (multiply and add: two); `images_per_second` is of the encoder alone.
    """

    name: str
    arm: str
    source: str
    side: int
    tokens: int
    width: int
    parameters: int
    flops: int
    images_per_second: float


@dataclass(frozen=True)
class Comparison:
    """The answer: what each encoder costs, the native one first, and the table of the comparing study.

    `measured` says on what the images a second were measured.
    """

    encoders: tuple[EncoderRow, ...]
    measured: str
    table: Table

    def as_json(self) -> str:
        plain = self.table.model_dump(mode="json", include=SHOWN)
        encoders = [row.model_dump(mode="json") for row in self.encoders]
        return json.dumps(plain | {"reference": REFERENCE, "measured": self.measured, "encoders": encoders}, indent=2)


def comparing(study: Study, names: Sequence[str], *, weights: Start = "pretrained") -> Study:
    """The study that trains each named encoder, and the native one, through a new adapter under the budget of `study`.

    Everything but the arms and contrasts is that of `study`. `weights` is what the named encoders start from. Raises
    UserError for 'native' and for a name that is given twice.
    """
    _check(names)
    arms = (Arm(name=REFERENCE, edits=_reference(study)), *(_swapped(name, weights) for name in names))
    return study.sibling(
        name=f"{study.name}-encoders",
        question="Does another vision encoder do better than the native one through the same new adapter, "
        f"under the budget of the study '{study.name}'?",
        seeds=study.seeds,
        arms=arms,
        contrasts=tuple(Contrast(name=name, a=arm_name(name), b=REFERENCE) for name in names),
    )


def arm_name(encoder: str) -> str:
    """An encoder's name as that of an arm: what an arm cannot be called is left out, and a digest tells the rest."""
    plain = re.sub(r"[^a-z0-9]+", "-", encoder.lower()).strip("-")
    return plain if plain == encoder else f"{plain}-{digest(encoder)[:6]}".lstrip("-")


def _check(names: Sequence[str]) -> None:
    if "native" in names:
        raise UserError(f"'native' is the reference of every comparison ({REFERENCE}): name other encoders only.")
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise UserError(f"The encoder '{twice[0]}' is named twice: name each once.")


def _reference(study: Study) -> tuple[Edit, ...]:
    """The native encoder as the study's base has it; the backbone's own where the base holds another encoder."""
    return (ADAPTER,) if study.base.vision.module == "native" else (Replace(slot="vision"), ADAPTER)


def _swapped(name: str, weights: Start) -> Arm:
    return Arm(name=arm_name(name), edits=(Replace(slot="vision", module=name, weights=weights), ADAPTER))
