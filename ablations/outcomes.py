"""What the table is computed from: the facts of the ledger and the outcomes of the episodes, free of runs and files."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ablations.statistics.design import Outcomes
from ablations.taught import is_control
from workbench.errors import UserError
from workbench.plan import Inputs


@dataclass(frozen=True)
class SlotFact:
    """What the ledger says really happened to a slot: `part` is LoRA, or the last blocks.

    `stages` are what the runs taught the slot whose weights it starts from, the first one's objective first: "policy"
    for finetuning. Empty for weights that no run made.
    """

    weights: str  # "pretrained" | "random" | "run:<id>"
    moved: str  # "frozen" | "full" | "part"
    stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArmRecord:
    """One arm, over its seeds.

    `reference` is what plays in place of a model, if anything. `slots` is empty while no run of the arm is recorded.
    `replaced`: a slot holds another architecture. `inputs` are what it is given, at test or, `retrained`, at training
    too. `otherwise` is how else it differs from the study's base, in words. `seconds` is the mean training time of a
    run. `failed` maps a seed to why its run stopped; `missing` are seeds not yet run. `dropped` says after what
    successive halving did not run it in full: it then has no outcomes.
    """

    name: str
    reference: str | None
    slots: Mapping[str, SlotFact]
    replaced: bool
    inputs: Inputs
    retrained: bool
    otherwise: tuple[str, ...]
    trainable_parameters: int | None
    seconds: float | None
    outcomes: Outcomes
    failed: Mapping[int, str]
    missing: tuple[int, ...]
    dropped: str = ""
    absent: tuple[str, ...] = ()

    @property
    def control(self) -> bool:
        """Whether it was injected, and with negative controls alone: in no stage of any slot was control taught."""
        return is_control([stage for slot in self.slots.values() for stage in slot.stages])


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
    budget: str
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
