"""What of a simulator's observation the policy is shown: one picture, one instruction."""

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
    """`image_HWC` uint8 of any size (the encoder resizes), and what is to be done."""

    image_HWC: np.ndarray
    instruction: str


@dataclass(frozen=True)
class Keys:
    """Where both stand in an observation: a key, or keys of maps within maps with `/` between them."""

    image: str
    prompt: str

    def read(self, observation: Mapping[str, Any]) -> Seen:
        """Raises Refused, naming the key, where something is missing or not what it should be."""
        key, picture = _only(self.image, _at(observation, self.image, "--image-key"))
        image_HWC = pixels(picture, key)
        said = _at(observation, self.prompt, "--prompt-key")
        if not isinstance(said, str) or not 0 < len(said.strip()) <= LONGEST_INSTRUCTION:
            found = f"a text of {len(said)} characters" if isinstance(said, str) else f"of type {type(said).__name__}"
            raise Refused(f"{shown(self.prompt)} is {found}; expected a text of 1 to {LONGEST_INSTRUCTION} characters.")
        return Seen(image_HWC, said)


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
