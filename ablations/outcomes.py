"""What the table is computed from: the facts of the ledger and the outcomes of the episodes, free of runs and files."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ablations.statistics import Outcomes
from workbench.errors import UserError


@dataclass(frozen=True)
class SlotFact:
    """What the ledger says really happened to a slot: `part` is LoRA, or the last blocks."""

    weights: str  # "pretrained" | "random" | "run:<id>"
    moved: str  # "frozen" | "full" | "part"


@dataclass(frozen=True)
class ArmRecord:
    """One arm, over its seeds.

    `slots` is empty while no run of the arm is recorded. `replaced`: a slot holds another architecture. `seconds` is
    the mean training time of a run. `failed` maps a seed to why its run stopped; `missing` are seeds not yet run.
    """

    name: str
    slots: Mapping[str, SlotFact]
    replaced: bool
    image: str  # "seen" | "blank", at test
    instruction: str  # "given" | "blank", at test
    trainable_parameters: int | None
    seconds: float | None
    outcomes: Outcomes
    failed: Mapping[int, str]
    missing: tuple[int, ...]


@dataclass(frozen=True)
class StudyRecord:
    """One study: its arms on one manifest of episodes, and the contrasts that it declared as (name, a, b), a minus b.

    `tasks` names the task of each episode, in manifest order. UserError where an arm played another number of episodes:
    outcomes of different manifests are never compared.
    """

    study: str
    question: str
    backbone: str
    head: str
    benchmark: str
    manifest: str
    selection: str
    tasks: tuple[str, ...]
    arms: tuple[ArmRecord, ...]
    contrasts: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        for arm in self.arms:
            for seed, outcomes in arm.outcomes.items():
                if outcomes.shape != (len(self.tasks),) or outcomes.dtype != np.bool_:
                    raise UserError(
                        f"Arm '{arm.name}', seed {seed}, holds {outcomes.size} outcomes of type {outcomes.dtype}; "
                        f"the manifest of study '{self.study}' has {len(self.tasks)} episodes, won or lost. "
                        "Delete that run and run the study again."
                    )
