"""How coarse the FAST tokens are that are fitted here: `fast-tokens:scale=2,vocabulary=64`. Without torch."""

import re
from dataclasses import dataclass

from workbench.errors import UserError, unknown

SCALES = (0.1, 1000)
"""With the least hardly a number is other than 0; with the most an action is known to a thousandth."""
VOCABULARIES = (2, 65536)


@dataclass(frozen=True)
class FastSettings:
    """What frequencies are multiplied by before they are rounded, and the most tokens that are made of the numbers."""

    scale: float = 10.0
    vocabulary: int = 256

    def __str__(self) -> str:
        """As it stands behind the colon: in this order, without what is as it would be anyway; "" where all is."""
        told = {"scale": f"{self.scale:.12g}", "vocabulary": str(self.vocabulary)}
        return ",".join(f"{key}={value}" for key, value in told.items() if getattr(self, key) != getattr(USUAL, key))


USUAL = FastSettings()


def is_settings(choice: str) -> bool:
    """Whether a choice of FAST tokens says how they are fitted, and names no folder.

    It is empty or begins with `word=`; a folder of such a name is written `./word=…`.
    """
    return not choice or re.match(r"[\w-]*\s*=", choice) is not None


def read_settings(choice: str) -> FastSettings:
    """What such a choice says. Raises UserError that names what is wrong in it and what to write."""
    told: dict[str, str] = {}
    for part in choice.split(",") if choice else ():
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in vars(USUAL):
            raise unknown("setting of fast-tokens", key, vars(USUAL))
        if key in told:
            raise UserError(f"'fast-tokens:{choice}' gives {key} twice: leave one of them.")
        told[key] = value
    scale = _number("scale", told.get("scale", str(USUAL.scale)), SCALES)
    vocabulary = _number("vocabulary", told.get("vocabulary", str(USUAL.vocabulary)), VOCABULARIES)
    if vocabulary != int(vocabulary):
        raise UserError(f"vocabulary={told['vocabulary']} of fast-tokens is no whole number: write vocabulary=64.")
    return FastSettings(float(f"{scale:.12g}"), int(vocabulary))


def _number(key: str, value: str, within: tuple[float, float]) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise UserError(
            f"{key}={value} of fast-tokens is no number: write fast-tokens:scale=2,vocabulary=64."
        ) from error
    least, most = within
    if not least <= number <= most:
        raise UserError(f"{key}={value} of fast-tokens is out of range: it is from {least} to {most}.")
    return number
