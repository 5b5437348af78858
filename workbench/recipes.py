"""Which demonstrations a run is trained on, as a value: a scripted expert's, or a data set on disk.

No torch here: planning a study costs milliseconds.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from workbench.actions import Actions
from workbench.benchmarks.contract import (
    TABLETOP,
    TABLETOP_CAMERA,
    TABLETOP_RENDER,
    check_played,
    completed,
    rules_given,
)
from workbench.benchmarks.rules import Split, rules_of
from workbench.spec import Value, later

COLLECTOR_VERSION = 3
"""Raised when code changes what a recipe of demonstrations gives; part of the dataset's id."""


class Expert(Value):
    """Demonstrations of the benchmark's scripted expert: `episodes` for each task, from the initial states of `split`.

    What is not given of tasks, camera and render mode is as the benchmark's rules have it.

    `noise` (standard deviation, in units of the largest action) disturbs what is executed, not what is recorded,
    so that the data show how to recover (DART, arXiv:1703.09327). `mishaps` is the probability that a step goes wrong
    altogether: any move is executed instead, and in half of them what is held is let go. `privileged` keeps what the
    simulator knows beside each frame (where everything is, and the depth): for objectives and probes, not for a policy.
    """

    kind: Literal["expert"] = "expert"
    benchmark: str = later(TABLETOP)
    tasks: tuple[str, ...] = Field(min_length=1)
    camera: str = later(TABLETOP_CAMERA)
    render: str = later(TABLETOP_RENDER)
    episodes: int = Field(default=200, ge=1, le=10**6)
    split: Split = "finetune"
    noise: float = Field(default=0.3, ge=0)
    mishaps: float = later(0.0, ge=0, lt=1)
    privileged: bool = later(False)

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: Any) -> Any:
        rules = rules_given(given)
        return given if rules is None else completed(given, rules)

    @model_validator(mode="after")
    def _known(self) -> "Expert":
        rules = check_played(self.benchmark, self.tasks, self.camera, self.render)
        if not rules.expert:
            raise ValueError(f"{self.benchmark} has no scripted expert: give a folder of demonstrations (kind folder)")
        if self.privileged and not rules.privileged:
            raise ValueError(f"privileged: {self.benchmark} tells nothing but what is seen")
        return self


def kept_aside(recipe: Expert, episodes: int) -> Expert:
    """Demonstrations of the same tasks, seen alike, from the selection episodes, with all that the simulator tells."""
    shared = {name: getattr(recipe, name) for name in ("benchmark", "tasks", "camera", "render")}
    return Expert(**shared, episodes=episodes, split="selection", privileged=rules_of(recipe.benchmark).privileged)


class Folder(Value):
    """A data set on disk, of any format. Its content's digest is part of the run's id, its path is not.

    `camera` is the one whose pictures are read; it must be named where there are several. `gripper` says whether the
    last number of an action is a gripper that is either closed (above 0) or open. `actions` is how many numbers an
    action has, filled in from the data.
    """

    kind: Literal["folder"] = "folder"
    path: str
    digest: str = ""
    camera: str | None = later(None)
    gripper: Literal["binary", "continuous"] = later("binary")
    actions: int = later(7, ge=2)


Data = Annotated[Expert | Folder, Field(discriminator="kind")]


def actions_of(data: Data) -> Actions:
    """What an action of these demonstrations is to a policy."""
    if isinstance(data, Expert):
        return rules_of(data.benchmark).action_form
    return Actions(data.actions, data.gripper == "binary")
