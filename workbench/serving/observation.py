"""What of a simulator's observation the policy is given: one picture, one instruction, and a state if it takes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.serving.pictures import pixels
from workbench.serving.refusal import Refused, shown

LONGEST_INSTRUCTION = 2000
"""Characters."""


@dataclass(frozen=True)
class Seen:
    """`image_HWC` uint8 of any size (the encoder resizes), what is to be done, and the robot's state if it was asked
    for, in the units of the training data.
    """

    image_HWC: np.ndarray
    instruction: str
    state_S: np.ndarray | None = None


@dataclass(frozen=True)
class Keys:
    """Where they stand in an observation: a key, or keys of maps within maps with `/` between them."""

    image: str
    prompt: str
    state: str

    def read(self, observation: Mapping[str, Any], state: int = 0) -> Seen:
        """What is there, and of the robot's state so many numbers; it is left unread where that is 0.

        Raises Refused, naming the key, where something is missing or not what it should be.
        """
        key, picture = _only(self.image, _at(observation, self.image, "--image-key"))
        image_HWC = pixels(picture, key)
        said = _at(observation, self.prompt, "--prompt-key")
        if not isinstance(said, str) or not 0 < len(said.strip()) <= LONGEST_INSTRUCTION:
            found = f"a text of {len(said)} characters" if isinstance(said, str) else f"of type {type(said).__name__}"
            raise Refused(f"{shown(self.prompt)} is {found}; expected a text of 1 to {LONGEST_INSTRUCTION} characters.")
        return Seen(image_HWC, said, self._state(observation, state) if state else None)

    def _state(self, observation: Mapping[str, Any], width: int) -> np.ndarray:
        """float64 `[S]`."""
        found, wanted = _at(observation, self.state, "--state-key"), f"{width} finite numbers"
        if isinstance(found, list) and all(isinstance(one, int | float) for one in found):
            found = np.array(found, np.float64)
        if not isinstance(found, np.ndarray):
            raise Refused(f"{shown(self.state)} is of type {type(found).__name__}; expected {wanted}.")
        if found.shape != (width,) or found.dtype.kind not in "fiu" or not np.isfinite(found).all():
            got = f"{found.dtype} {list(found.shape)}"
            raise Refused(f"{shown(self.state)} is {got}{_unlike(found)}; expected {wanted}.")
        return found.astype(np.float64)


def _unlike(found: np.ndarray) -> str:
    infinite = found.dtype.kind == "f" and not np.isfinite(found).all()
    return " with values that are not finite" if infinite else ""


def _at(observation: Mapping[str, Any], key: str, option: str) -> Any:
    """What stands at `key`, or within the map at the part of it before a `/`."""
    if key in observation:
        return observation[key]
    first, found, rest = key.partition("/")
    inner = observation.get(first)
    if found and isinstance(inner, dict):
        return _at(inner, rest, option)
    raise Refused(
        f"The observation has no {shown(key)}, it has {_listed(observation)}: name another key where the server is "
        f"started ({option})."
    )


def _only(key: str, value: Any) -> tuple[str, Any]:
    """The one camera of a map of cameras; which of several is meant is never guessed."""
    if not isinstance(value, dict):
        return key, value
    if len(value) != 1:
        raise Refused(
            f"{shown(key)} holds {len(value)} pictures ({_listed(value)}): name one where the server is started, as "
            f"--image-key {key}/CAMERA."
        )
    ((camera, picture),) = value.items()
    return f"{key}/{camera}", picture


def _listed(observation: Mapping[str, Any]) -> str:
    names = [shown(key) for key in sorted(observation)[:12]]
    return ", ".join(names + ["…"] * (len(observation) > 12)) or "nothing"
