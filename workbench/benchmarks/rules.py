"""A benchmark's rules as data: one TOML file each in `protocols/`, read without its simulator.

What is played (tasks, initial states, horizon), what is seen (camera, render mode), what an action is, and what counts
as success. The digest of all this is part of every protocol, so that figures of other rules are never compared.
"""

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from workbench.actions import Actions
from workbench.errors import UserError, unknown
from workbench.spec import Value, digest

FILES = Path(__file__).parent / "protocols"
RULES = ("world", "settling_steps", "chain", "actions", "gripper", "success", "horizons")
Split = Literal["injection", "finetune", "selection", "evaluation"]


class Rules(Value):
    """How a benchmark is played. The first of `cameras` and of `renders` is the one that is meant where none is named.

    Cameras are written as `front 64x64`: a name, width and height in pixels. `horizons` are the control steps that each
    task may take, by task. `settling_steps` still actions are carried out before the first picture. `chain` is how many
    instructions an episode gives, one after the other. `rows` is how many episodes are played side by side at most, for
    their memory. `extra` is the distribution's extra that installs the simulator, if any. `splits` are the initial
    states that there are; published ones are `evaluation` alone. `misnamed` and `paraphrased` are sentences by task,
    for a simulator in another process that says one sentence a task. `states` are the initial states of each task,
    where not all have as many; `initial_states` is then the most.
    """

    source: str
    world: str
    extra: str | None = None
    robot: str
    fps: int = Field(gt=0)
    initial_states: int = Field(ge=1)
    n_action_steps: int = Field(ge=1)
    settling_steps: int = Field(default=0, ge=0)
    chain: int = Field(default=1, ge=1)
    rows: int = Field(default=32, ge=1)
    cameras: tuple[str, ...] = Field(min_length=1)
    renders: tuple[str, ...] = Field(min_length=1)
    state: tuple[str, ...]
    actions: tuple[str, ...] = Field(min_length=2)
    gripper: Literal["binary", "continuous"]
    success: str
    splits: tuple[Split, ...] = ("evaluation",)
    expert: bool = False
    privileged: bool = False
    misnames: bool = False
    paraphrases: bool = False
    misnamed: dict[str, str] = {}
    paraphrased: dict[str, str] = {}
    horizons: dict[str, int] = Field(min_length=1)
    states: dict[str, int] = {}

    @field_validator("cameras")
    @classmethod
    def _sized(cls, cameras: tuple[str, ...]) -> tuple[str, ...]:
        for camera in cameras:
            camera_size(camera)
        return cameras

    @model_validator(mode="after")
    def _playable(self) -> "Rules":
        if min(self.horizons.values()) < 1:
            raise ValueError("a horizon is at least one control step")
        for has, sentences in ((self.misnames, self.misnamed), (self.paraphrases, self.paraphrased)):
            if sentences and (not has or set(sentences) != set(self.horizons)):
                raise ValueError("sentences need their switch (misnames, paraphrases), and one for each task")
        if self.states and set(self.states) != set(self.horizons):
            raise ValueError("states are given for each task or for none")
        if self.states and not 1 <= min(self.states.values()) <= max(self.states.values()) == self.initial_states:
            raise ValueError("a task has at least one initial state, and initial_states is the most that one has")
        return self

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.horizons)

    @property
    def action_form(self) -> Actions:
        """What a policy's head has to give."""
        return Actions(len(self.actions), self.gripper == "binary")

    def digest(self) -> str:
        """Of what can change a figure and is no choice of the protocol."""
        return digest(self.model_dump(mode="json", include=set(RULES)))


def camera_size(camera: str) -> tuple[int, int]:
    """Width and height in pixels that a camera's name ends with. Raises ValueError where it does not."""
    width, times, height = camera.rpartition(" ")[2].partition("x")
    if not (times and width.isdecimal() and height.isdecimal()):
        raise ValueError(f"the camera {camera!r} does not end with its size, such as 64x64")
    return int(width), int(height)


def benchmarks() -> tuple[str, ...]:
    """The names of all benchmarks."""
    return tuple(sorted(path.stem for path in FILES.glob("*.toml")))


@cache
def rules_of(benchmark: str) -> Rules:
    """The rules of a benchmark. Raises UserError for an unknown name."""
    if benchmark not in benchmarks():
        raise unknown("benchmark", benchmark, benchmarks())
    path = FILES / f"{benchmark}.toml"
    try:
        return Rules.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
