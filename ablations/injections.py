"""One row for each injection of a study: what it wins over the slot as it was, and over the negative controls."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ablations.outcomes import ArmRecord, StudyRecord
from ablations.roles import Part, Role, controls, injected_role
from ablations.statistics.adjustment import holm
from ablations.statistics.cell import Cells, cell
from ablations.statistics.contrast import contrast
from ablations.statistics.design import Outcomes, shared
from ablations.statistics.gain import Gain, specific_gain
from ablations.statistics.interval import Estimate
from ablations.statistics.recovery import recovery
from ablations.table import InjectionRow, estimated, seen
from ablations.taught import POLICY, idle, in_words

Arms = Mapping[Role, ArmRecord]
NOTHING = "nothing"  # where a slot starts from runs that all kept it frozen


@dataclass(frozen=True)
class Injected:
    """One injection: the arms whose `slot` starts from the same weights, one that then freezes it, one that trains it.

    `taught` says by what: one objective, or a chain of them; "policy" where the weights are a finished policy's, and
    "nothing" where no run trained the slot.
    """

    slot: str
    taught: str
    control: bool
    frozen: ArmRecord | None
    trained: ArmRecord | None

    @property
    def arm(self) -> str:
        """The frozen arm's name, or the trained one's where none is frozen."""
        return next(arm.name for arm in (self.frozen, self.trained) if arm is not None)


@dataclass(frozen=True)
class Gained:
    """What the arm that freezes the injected slot gains, its p adjusted over all signals, and over the controls."""

    gain: Estimate | None
    p_adjusted: float | None
    specific: Gain | None


def injections(
    record: StudyRecord, arms: Arms, cells: Cells = "wilson"
) -> tuple[tuple[InjectionRow, ...], tuple[str, ...]]:
    """The rows, signals by their gain and then controls by theirs, and a note for each arm that no row uses.

    `arms` are the study's, by role. An arm without a ledger, none of whose runs is recorded, is in no row.
    """
    found, notes = _found(record.arms)
    gains = [contrast(_outcomes(one.frozen), _outcomes(arms.get(Role(Part.FROZEN, one.slot)))) for one in found]
    asked = {index: gain.p for index, gain in enumerate(gains) if gain is not None and not found[index].control}
    adjusted = dict(zip(asked, holm(list(asked.values())), strict=True))
    rows = []
    for index, (name, one) in enumerate(zip(_names(found), found, strict=True)):
        against = {} if one.control else controls(record.arms, one.slot)
        specific = specific_gain(_outcomes(one.frozen), {other: arm.outcomes for other, arm in against.items()})
        rows.append(_row(name, one, arms, gained=Gained(gains[index], adjusted.get(index), specific), cells=cells))
    return tuple(sorted(rows, key=_place)), (*notes, *_mixed(record.arms))


def _found(arms: Iterable[ArmRecord]) -> tuple[list[Injected], tuple[str, ...]]:
    """Each injection, in the study's order, and a note for each arm whose part an earlier arm has."""
    parts: dict[tuple[str, str], dict[Part, ArmRecord]] = {}
    notes = []
    for arm in arms:
        role = injected_role(arm)
        if role is None or role.of is None:
            continue
        weights = arm.slots[role.of].weights
        first = parts.setdefault((role.of, weights), {}).setdefault(role.part, arm)
        if first is not arm:
            both = f"'{first.name}' and '{arm.name}' are both '{role}' with the weights {weights}"
            notes.append(f"{both}; the injection's row uses the first.")
    found = []
    for (slot, _), own in parts.items():
        first = next(iter(own.values()))
        frozen, trained = own.get(Part.INJECTED_FROZEN), own.get(Part.INJECTED_TRAINED)
        taught = in_words(first.slots[slot].stages) or NOTHING
        found.append(Injected(slot, taught, first.control, frozen, trained))
    return found, tuple(notes)


def _names(found: Sequence[Injected]) -> list[str]:
    """No two are alike: where what was taught is not one injection's alone, the arm's name stands with it."""
    often = Counter(one.taught for one in found)
    alone = [often[one.taught] == 1 and one.taught not in (POLICY, NOTHING) for one in found]
    return [one.taught if own else f"{one.taught} ({one.arm})" for one, own in zip(found, alone, strict=True)]


def _mixed(arms: Iterable[ArmRecord]) -> tuple[str, ...]:
    """A note for each chain of stages of which some are negative controls and others are not, with its arms."""
    mixed: dict[tuple[str, ...], list[str]] = {}
    for arm in arms:
        for stages in dict.fromkeys(slot.stages for slot in arm.slots.values()):
            if 0 < len(idle(stages)) < len(stages):
                mixed.setdefault(stages, []).append(f"'{arm.name}'")
    return tuple(
        f"{', '.join(names)} began with {in_words(stages)}. Nothing of control was taught by "
        f"{' and '.join(idle(stages))}, but by another stage: what is gained is no negative control's, and no single "
        "signal's."
        for stages, names in mixed.items()
    )


def _row(name: str, one: Injected, arms: Arms, *, gained: Gained, cells: Cells) -> InjectionRow:
    gain, specific = gained.gain, gained.specific
    own, all_trained = _outcomes(one.frozen), _outcomes(arms.get(Role(Part.TRAINED)))
    kept = _outcomes(arms.get(Role(Part.FROZEN, one.slot)))
    success, won_back = cell(own, cells), recovery(own, kept, trained=all_trained)
    return InjectionRow(
        name=name,
        slot=one.slot,
        control=one.control,
        frozen=one.frozen.name if one.frozen else None,
        trained=one.trained.name if one.trained else None,
        success=seen(success, len(own)),
        gain=estimated(gain),
        p=gain.p if gain else None,
        p_adjusted=gained.p_adjusted,
        specific=seen(specific, specific.seeds) if specific else None,
        recovery=seen(won_back, len(shared(own, kept, all_trained))),
        trained_gain=estimated(contrast(_outcomes(one.trained), all_trained)),
        seeds=gain.seeds if gain else 0,
        mde=gain.smallest_detectable if gain else None,
        screening=gain is not None and gain.screening,
    )


def _outcomes(arm: ArmRecord | None) -> Outcomes:
    return arm.outcomes if arm is not None else {}


def _place(row: InjectionRow) -> tuple[bool, float]:
    """Signals first, each kind by its gain; what has no gain comes last of its kind."""
    return row.control, -row.gain.value if row.gain else math.inf
