"""What a person sees of a study's power: how surely it would find its bottleneck, and what it would take."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from rich.table import Table
from scipy import stats

from ablations.arms import Arm
from ablations.notation import effect as points
from ablations.roles import NEW
from ablations.statistics.interval import ENOUGH_SEEDS, POWER
from ablations.statistics.power import STUDIES, Freezing, Power, power
from ablations.statistics.simulation import Design, Scatter
from ablations.study import Study
from ablations.study_file import read_study
from workbench.edits import edited
from workbench.errors import UserError
from workbench.plan import Inputs
from workbench.screens.console import console
from workbench.spec import SLOTS, Frozen, SlotName

SUCCESS = 0.7  # of the arm that trains everything
SEED_SCATTER = (
    0.05  # standard deviation of success over training seeds; the demo's three seeds scatter by 4 to 6 points
)
SEEDS = (3, 5, 10)
SHARES = (0.5, 1, 2)  # of the study's own episodes
EPISODES = 1_200_000  # simulated for each arm of one design, at most; a larger design gets fewer studies
LEGEND = (
    f"* the study's own design, where it has the fewest seeds; below {ENOUGH_SEEDS} seeds is screening, not a claim. "
    "Named wrongly: a slot is called the bottleneck though none costs more than all others; 5 % is promised."
)
FEWEST = 100  # simulated studies of a design


@dataclass(frozen=True)
class Assumed:
    """What the simulation supposes, as fractions: a planted effect, the reference's success, its scatter over seeds."""

    effect: float
    success: float = SUCCESS
    scatter: float = SEED_SCATTER

    def __post_init__(self) -> None:
        if not 0 < self.effect < self.success < 1:
            raise UserError(
                f"An effect of {points(self.effect)} points cannot be lost by an arm that succeeds in "
                f"{points(self.success)} %: choose an effect above 0 and below the success, and a success below 100."
            )
        if not 0 <= self.scatter < self._steepness:
            raise UserError(
                f"Training seeds cannot scatter by {points(self.scatter)} points around a success of "
                f"{points(self.success)} %: choose a scatter below {points(self._steepness)}."
            )

    @property
    def _steepness(self) -> float:
        """Change of success for one standard deviation of the margin."""
        return float(stats.norm.pdf(stats.norm.ppf(self.success)))

    def seeds(self) -> Scatter:
        """Seeds scatter by `scatter` around `success`, to first order; the rest is as `Scatter` has it."""
        share, others = self.scatter / self._steepness, Scatter(seed=0.0)
        return Scatter(seed=share / float(np.sqrt(1 - share**2)) * others.total)


def show_power(name: str, assumed: Assumed, format: Literal["terminal", "json"]) -> None:
    """Simulate the study's own design and some around it; prints nothing of what is recorded."""
    study = read_study(name)
    slots, own = _freezing(study)
    found = [_simulated(design, slots, assumed) for design in _designs(own)]
    if format == "json":
        print(json.dumps(_as_json(study, slots, assumed, own, found), indent=1))
        return
    console.print(_table(study, slots, assumed, own, found))
    console.print(LEGEND, soft_wrap=True)
    console.print(_advice(_enough(found), assumed), soft_wrap=True)


def _freezing(study: Study) -> tuple[int, Design]:
    """How many slots the study freezes one at a time, and its seeds and episodes where it has the fewest."""
    arms = {slot: arm for slot in SLOTS if slot != NEW for arm in study.arms if _freezes(study, arm, slot)}
    trained = [arm for arm in study.arms if arm.inputs == Inputs() and edited(study.base, arm.edits) == study.base]
    if not trained or len(arms) < 2:
        raise UserError(
            f"The study {study.name!r} has no bottleneck to find: the verdict compares an arm that trains everything "
            f"with arms that freeze one slot each, two at least, and it has {len(trained)} and {len(arms)} of them. "
            "Add arms, or ask for another study, such as demo."
        )
    seeds = min(len(arm.seeds or study.seeds) for arm in (*trained, *arms.values()))
    tasks = len(study.protocol.tasks)
    return len(arms), Design(seeds, len(study.protocol.manifest()) // tasks, tasks)


def _freezes(study: Study, arm: Arm, slot: SlotName) -> bool:
    """The arm is the study's base with this slot frozen, and nothing else."""
    frozen = study.base.with_slot(slot, study.base.slot(slot).model_copy(update={"tune": Frozen()}))
    return arm.inputs == Inputs() and frozen != study.base and edited(study.base, arm.edits) == frozen


def _designs(own: Design) -> list[Design]:
    states = sorted({max(1, round(share * own.states)) for share in SHARES})
    return [Design(seeds, number, own.tasks) for seeds in sorted({own.seeds, *SEEDS}) for number in states]


def _simulated(design: Design, slots: int, assumed: Assumed) -> Power:
    """Each design has its own draws, always the same."""
    studies = max(FEWEST, min(STUDIES, EPISODES // (design.seeds * design.episodes * slots)))
    generator = np.random.default_rng((design.seeds, design.states, design.tasks))
    freezing = Freezing(design, assumed.seeds(), slots, assumed.success)
    return power(generator, freezing, effect=assumed.effect, studies=studies)


def _enough(found: list[Power]) -> Power | None:
    """The design with the fewest episodes in all that finds the effect in 80 % of studies and supports a claim."""
    good = [one for one in found if one.found >= POWER and one.design.seeds >= ENOUGH_SEEDS]
    return min(good, key=lambda one: one.design.seeds * one.design.episodes, default=None)


def _table(study: Study, slots: int, assumed: Assumed, own: Design, found: list[Power]) -> Table:
    title = (
        f"{study.name}: one of {slots} frozen slots costs {points(assumed.effect)} points of "
        f"{points(assumed.success)} %, seeds scatter by {points(assumed.scatter)} points"
    )
    table = Table(title=title)
    for column in ("seeds", "episodes", "found %", "smallest effect found in 80 %", "named wrongly %"):
        table.add_column(column, justify="right")
    for one in found:
        seeds = f"{one.design.seeds}{' *' if one.design == own else ''}"
        cells = (str(one.design.episodes), points(one.found), points(one.smallest), points(one.false))
        table.add_row(seeds, *cells, style="bold" if one.design == own else "")
    return table


def _advice(enough: Power | None, assumed: Assumed) -> str:
    if enough is None:
        return (
            f"None of these designs finds {points(assumed.effect)} points in 80 % of studies: add training seeds first."
        )
    size = f"{enough.design.seeds} seeds x {enough.design.episodes} episodes"
    return f"{points(assumed.effect)} points are found in 80 % of studies from {size} an arm."


def _as_json(study: Study, slots: int, assumed: Assumed, own: Design, found: list[Power]) -> Mapping[str, Any]:
    enough = _enough(found)
    return {
        "study": study.name,
        "slots": slots,
        "effect": assumed.effect,
        "success": assumed.success,
        "seed_scatter": assumed.scatter,
        "designs": [
            {"own": one.design == own, **_size(one.design), "found": one.found, "false": one.false, "mde": one.smallest}
            for one in found
        ],
        "enough": _size(enough.design) if enough else None,
    }


def _size(design: Design) -> dict[str, int]:
    return {"seeds": design.seeds, "episodes": design.episodes}
