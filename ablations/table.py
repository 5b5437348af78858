"""The bottleneck table as a value: what is stored as JSON and what every report shows. No torch, no text layout.

Success, differences, intervals and smallest detectable effects are fractions (0.12 is 12 points). `null` is a figure
whose arms the study lacks or has not played. `seeds` counts training seeds, `episodes` the episodes that each plays.
`screening` marks figures on fewer than 3 training seeds: they support no claim. `mde` is the smallest detectable
effect: the true difference that the design would find at p < 0.05 in 80 % of repetitions.
"""

from pydantic import BaseModel, ConfigDict


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Figure(_Row):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


class ArmRow(_Row):
    """One arm. `facts` is what the ledger says of its slots; `failed` maps a seed to the reason that its run stopped."""

    name: str
    facts: str
    seeds: int
    episodes: int
    success: float | None
    ci95: tuple[float, float] | None
    trainable_parameters: int | None
    seconds: float | None
    screening: bool
    by_seed: dict[int, float]
    by_task: dict[str, float]
    failed: dict[int, str]
    missing: tuple[int, ...]


class ContrastRow(_Row):
    """Success of arm a minus success of arm b, as the study declared it.

    `p_holm` is adjusted over all declared contrasts that could be computed. `mcnemar` is the exact test within each seed.
    `paired` is false where the two arms have no training seed in common.
    """

    name: str
    a: str
    b: str
    difference: float | None
    ci95: tuple[float, float] | None
    p: float | None
    p_holm: float | None
    seeds: int
    mde: float | None
    screening: bool
    paired: bool
    mcnemar: dict[int, float]


class SlotRow(_Row):
    """One slot. `seeds`, `mde` and `screening` speak of its freeze cost."""

    slot: str
    freeze_cost: Figure | None
    relief: Figure | None
    pretraining_value: Figure | None
    random_floor: Figure | None
    injection_gain: Figure | None
    trained_injection_gain: Figure | None
    recovery: Figure | None
    seeds: int
    mde: float | None
    screening: bool
    verdict: str


class WholeRow(_Row):
    """What the model as a whole owes to something: success of arm a minus success of arm b."""

    name: str
    a: str | None
    b: str | None
    difference: Figure | None
    seeds: int
    mde: float | None


class Table(_Row):
    """One study, one answer."""

    study: str
    question: str
    backbone: str
    head: str
    benchmark: str
    manifest: str
    selection: str
    episodes: int
    verdict: str
    slots: tuple[SlotRow, ...]
    whole: tuple[WholeRow, ...]
    contrasts: tuple[ContrastRow, ...]
    arms: tuple[ArmRow, ...]
    notes: tuple[str, ...]
