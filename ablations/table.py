"""The bottleneck table as a value: what is stored as JSON and what every report shows.

Success, differences, intervals and smallest detectable effects are fractions (0.12 is 12 points). `null` is a figure
whose arms the study lacks or has not played. `seeds` counts training seeds, `episodes` the episodes that each plays.
`screening` marks what rests on fewer than 3 training seeds and supports no claim; on a single seed an interval covers
other episodes, not other seeds. `mde` is the smallest detectable effect: the true difference that 80 % of repeated
studies would find at p < 0.05.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ablations.statistics.cell import Cells
from ablations.statistics.interval import ENOUGH_SEEDS, Estimate, Interval


class Value(BaseModel):
    """Frozen, without unknown keys, without NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Figure(Value):
    """A value, its 95 % interval, and the training seeds that it rests on."""

    value: float
    low: float
    high: float
    seeds: int

    @property
    def screening(self) -> bool:
        return self.seeds < ENOUGH_SEEDS


class ArmRow(Value):
    """One arm. `facts` is what the ledger says of its slots; `failed` maps a seed to the reason why its run stopped.

    `dropped`: successive halving did not run it in full, and `facts` says after what. `iqm` is the interquartile mean
    over seeds and tasks (arXiv:2108.13264), null on one seed.
    """

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
    by_task_ci95: dict[str, tuple[float, float]] = {}
    iqm: Figure | None = None
    failed: dict[int, str]
    missing: tuple[int, ...]
    dropped: bool = Field(default=False, exclude_if=lambda value: not value)

    @property
    def figure(self) -> Figure | None:
        return _figure(self.success, self.ci95, self.seeds)


class ContrastRow(Value):
    """Success of arm a minus success of arm b.

    `p_adjusted` is adjusted over all rows of its kind: by Holm for declared contrasts, by Benjamini and Hochberg for
    exploratory ones. `equivalent`: shown to lie within ±5 points (TOST). `mcnemar` is the exact p within each seed;
    `paired` is false where the two arms have no training seed in common. `improvement` is how often a training of a is
    better than one of b on a task (arXiv:2108.13264), null where an arm has one seed. `dropped` names the arms that
    successive halving did not run in full.
    """

    name: str
    a: str
    b: str
    difference: float | None
    ci95: tuple[float, float] | None
    p: float | None
    p_adjusted: float | None
    equivalent: bool | None
    seeds: int
    mde: float | None
    screening: bool
    paired: bool
    mcnemar: dict[int, float]
    improvement: Figure | None = None
    dropped: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)

    @property
    def figure(self) -> Figure | None:
        return _figure(self.difference, self.ci95, self.seeds)


class SlotRow(Value):
    """One slot of the model. `seeds`, `mde` and `screening` speak of its freeze cost.

    What is said of injections is said of the first that is no negative control.
    """

    slot: str
    freeze_cost: Figure | None
    relief: Figure | None
    pretraining_value: Figure | None
    random_floor: Figure | None
    injection_gain: Figure | None
    trained_injection_gain: Figure | None
    specific_gain: Figure | None
    recovery: Figure | None
    seeds: int
    mde: float | None
    screening: bool
    verdict: str


class InjectionRow(Value):
    """One injection into a slot, by the arms that start from it. `p`, `seeds`, `mde` and `screening` speak of `gain`.

    `name` is the objective, with the arm's name where several injections have that objective, or the arm's name alone
    where the weights come from a finished policy. `frozen` and `trained` are the arms that then freeze and train the
    slot, `success` is that of the frozen one. `gain` is the frozen arm minus the slot frozen as it was; `specific` the
    frozen arm minus the best negative control of the slot, with the interval of the smallest of all such gains, null
    for a control; `recovery` the gain in parts of the freeze cost; `trained_gain` the trained arm minus all trained.
    `p_adjusted` is Holm's, over the gains of all injections that are no control; null for a control.
    """

    name: str
    slot: str
    control: bool
    frozen: str | None
    trained: str | None
    success: Figure | None
    gain: Figure | None
    p: float | None
    p_adjusted: float | None
    specific: Figure | None
    recovery: Figure | None
    trained_gain: Figure | None
    seeds: int
    mde: float | None
    screening: bool


class WholeRow(Value):
    """What the whole model owes to something: success of arm a minus success of arm b."""

    name: str
    a: str
    b: str
    difference: Figure | None
    mde: float | None


class ShareRow(Value):
    """What one input carries of the trained model's success: its Shapley share over blanking every set of inputs."""

    name: str
    share: Figure | None
    mde: float | None


Metric = Literal["success", "chain length"]
PublishedColumn = Literal["freeze cost", "pretraining", "injection gain", "trained injection"]
"""Columns and rows of ours beside which somebody has published figures."""


class PublishedRow(Value):
    """What a paper published beside a column of ours: the figure of its arm a minus that of its arm b.

    `figures` are as published: success in %, chain lengths in tasks. `difference` is a fraction, or in tasks; its
    interval, recomputed from `episodes`, is null for chain lengths, whose spread is not stated, and where the number of
    episodes is not. `seeds` of training, null where not stated. `unlike`: where theirs is another question.
    """

    paper: str
    id: str
    section: str
    model: str
    benchmark: str
    metric: Metric
    column: PublishedColumn
    slot: str | None
    a: str
    b: str
    figures: tuple[float, float]
    difference: float
    ci95: tuple[float, float] | None
    episodes: int | None
    seeds: int | None
    unlike: str
    ours: Figure | None

    @property
    def figure(self) -> Figure | None:
        return _figure(self.difference, self.ci95, self.seeds or 1)  # one at least, where none is stated


class PublishedRows(Value):
    """Theirs, marked as such: `notes` say what they are worth beside ours, and how they were made."""

    notes: tuple[str, ...]
    rows: tuple[PublishedRow, ...]


class Table(Value):
    """One study, one answer. `bottleneck` is the slot that the rule names, null where it names none.

    `injections` are signals by their gain, largest first, then negative controls by theirs. `exploratory` contrasts
    were not declared: they are hints. `shares` add up to what all inputs together carry. `cells` is the interval of
    every success rate.
    `published` is what papers found elsewhere; it is left out where nobody asked for it.
    """

    study: str
    question: str
    backbone: str
    head: str
    benchmark: str
    manifest: str
    selection: str
    budget: str
    episodes: int
    bottleneck: str | None
    screening: bool
    verdict: str
    slots: tuple[SlotRow, ...]
    injections: tuple[InjectionRow, ...]
    whole: tuple[WholeRow, ...]
    contrasts: tuple[ContrastRow, ...]
    exploratory: tuple[ContrastRow, ...]
    shares: tuple[ShareRow, ...]
    arms: tuple[ArmRow, ...]
    notes: tuple[str, ...]
    cells: Cells = "wilson"
    published: PublishedRows | None = Field(default=None, exclude_if=lambda value: value is None)

    def as_json(self) -> str:
        return self.model_dump_json(indent=2)


def seen(interval: Interval | None, seeds: int) -> Figure | None:
    """An interval as a figure of the table, on so many training seeds."""
    if interval is None:
        return None
    return Figure(value=interval.value, low=interval.low, high=interval.high, seeds=seeds)


def estimated(estimate: Estimate | None) -> Figure | None:
    """A difference as a figure of the table, on its own training seeds."""
    return None if estimate is None else seen(estimate, estimate.seeds)


def _figure(value: float | None, interval: tuple[float, float] | None, seeds: int) -> Figure | None:
    if value is None or interval is None:
        return None
    return Figure(value=value, low=interval[0], high=interval[1], seeds=seeds)
