"""From stored outcomes to the modality bottleneck table, by pure functions.

With U the success of the arm that trains everything, F the slot frozen, X the slot random and frozen, R the slot random
and trained, I the slot injected and frozen, J the slot injected and trained:

freeze cost U - F; relief (only this slot and the head trained) - (only the head trained); pretraining value U - R;
random floor X; injection gain I - F; trained injection gain J - U; recovery (I - F) / (U - F). I and J of a slot's row
are the first injection that is no negative control; every injection has a row of its own (`injections`).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ablations.contrasts import declared, exploratory
from ablations.injections import injections
from ablations.notation import plural
from ablations.outcomes import ArmRecord, SlotFact, StudyRecord
from ablations.roles import NEW, Part, Role, described, roles
from ablations.statistics.cell import Cells, cell
from ablations.statistics.contrast import contrast
from ablations.statistics.design import Outcomes
from ablations.statistics.interval import ENOUGH_SEEDS, Estimate, Interval
from ablations.statistics.scores import interquartile
from ablations.statistics.shapley import Coalition, coalitions, shapley
from ablations.table import ArmRow, Figure, InjectionRow, ShareRow, SlotRow, Table, WholeRow, estimated, seen
from ablations.verdict import decide, sentence, slot_words, without_freezing
from workbench.spec import SLOTS

__all__ = ["ArmRecord", "SlotFact", "StudyRecord", "bottleneck"]
Arms = Mapping[Role, ArmRecord]
WHOLE = {
    "pretraining": (Part.TRAINED, Part.SCRATCH),
    "training more than the head": (Part.TRAINED, Part.HEAD_ONLY),
}
GIVEN = {Part.AT_TEST: "dependence", Part.RETRAINED: "necessity"}
"""What is lost with another input: at test, or where the policy was trained with it too."""
BLANK = {"image": "blank", "instruction": "blank", "proprioception": "zero"}
"""How nothing is told by each of the inputs, in the order in which a role names them."""


def bottleneck(record: StudyRecord, cells: Cells = "wilson") -> Table:
    """The table of what is recorded; what the study lacks, or has not played, is null. `cells`: which interval a share
    of episodes has. UserError for an unknown arm.
    """
    arms, doubles = roles(record.arms)
    frozen = {slot: arms[role] for slot in SLOTS if (role := Role(Part.FROZEN, slot)) in arms}
    costs = {slot: cost for slot in frozen if (cost := _cost(arms, slot))}
    own = {slot: cost for slot, cost in costs.items() if slot != NEW}
    decision = decide(own, {slot: frozen[slot].outcomes for slot in own})
    words = slot_words(own, decision)
    injected, repeated = injections(record, arms, cells)
    known = all(arm.slots or arm.reference or arm.dropped for arm in record.arms)  # what each of them is about
    told = [slot for slot in SLOTS if slot != NEW or slot in frozen]
    about_slots = not known or any(role.of in SLOTS for role in arms)
    rows = tuple(_slot(slot, arms, words, injected, cells) for slot in told) if about_slots else ()
    where = f"with backbone {record.backbone}, head {record.head}, on {record.benchmark}"
    contrasts = declared(record)
    if known and not frozen:
        found = without_freezing(contrasts, where=where)
    else:
        found = sentence(decision, [row for row in rows if row.slot != NEW], where=where)
    return Table(
        study=record.study,
        question=record.question,
        backbone=record.backbone,
        head=record.head,
        benchmark=record.benchmark,
        manifest=record.manifest,
        selection=record.selection,
        budget=record.budget,
        episodes=len(record.tasks),
        bottleneck=decision.slot,
        screening=bool(decision.thin),
        verdict=" ".join((found, *_left_out(record))),
        slots=rows,
        injections=injected,
        whole=_wholes(arms),
        contrasts=contrasts,
        exploratory=exploratory(record, arms.get(Role(Part.TRAINED))),
        shares=_shares(arms),
        arms=tuple(_arm(arm, record.tasks, cells) for arm in record.arms),
        cells=cells,
        notes=(*record.notes, *doubles, *repeated),
    )


def _left_out(record: StudyRecord) -> tuple[str, ...]:
    """What the verdict does not speak of."""
    dropped = sum(bool(arm.dropped) for arm in record.arms)
    return (f"Nothing is said of {plural(dropped, 'arm')} that successive halving dropped.",) if dropped else ()


def _cost(arms: Arms, slot: str) -> Estimate | None:
    return _difference(arms, Role(Part.TRAINED), Role(Part.FROZEN, slot))


def _difference(arms: Arms, a: Role, b: Role) -> Estimate | None:
    return contrast(arms[a].outcomes, arms[b].outcomes) if a in arms and b in arms else None


def _slot(slot: str, arms: Arms, words: Mapping[str, str], injected: Sequence[InjectionRow], cells: Cells) -> SlotRow:
    def between(a: Part, b: Part) -> Figure | None:
        """Roles of the whole model take no slot."""
        whole = (Part.TRAINED, Part.HEAD_ONLY)
        first, second = (Role(part, None if part in whole else slot) for part in (a, b))
        return estimated(_difference(arms, first, second))

    cost = _cost(arms, slot)
    floor = _outcomes(arms, Role(Part.RANDOM_FROZEN, slot))
    first = arms.get(Role(Part.INJECTED_FROZEN, slot))
    injection = next((row for row in injected if first is not None and row.frozen == first.name), None)
    absent = "not measured" if slot != NEW else "not compared: its weights are new"
    return SlotRow(
        slot=slot,
        freeze_cost=estimated(cost),
        relief=between(Part.WITH_HEAD, Part.HEAD_ONLY),
        pretraining_value=between(Part.TRAINED, Part.RANDOM_TRAINED),
        random_floor=seen(cell(floor, cells), len(floor)),
        injection_gain=injection.gain if injection else None,
        trained_injection_gain=between(Part.INJECTED_TRAINED, Part.TRAINED),
        specific_gain=injection.specific if injection else None,
        recovery=injection.recovery if injection else None,
        seeds=cost.seeds if cost else 0,
        mde=cost.smallest_detectable if cost else None,
        screening=cost is not None and cost.screening,
        verdict=words.get(slot, absent),
    )


def _outcomes(arms: Arms, role: Role) -> Outcomes:
    return arms[role].outcomes if role in arms else {}


def _wholes(arms: Arms) -> tuple[WholeRow, ...]:
    """What the whole model owes to its pretraining, to its training and to each input, where there are arms for it."""
    trained, expert = Role(Part.TRAINED), Role(Part.EXPERT)
    asked = [(name, Role(a), Role(b)) for name, (a, b) in WHOLE.items()]
    asked.append(("what the expert has over it", expert, trained))
    asked += [(f"{GIVEN[role.part]}: {role.of}", trained, role) for role in arms if role.part in GIVEN]
    return tuple(_whole(name, arms[a], arms[b]) for name, a, b in asked if a in arms and b in arms)


def _shares(arms: Arms) -> tuple[ShareRow, ...]:
    """What each input carries of the success, where the trained model was played with every set of inputs blank.

    Of image and instruction alone, the state given, where not every set with a blank state was played.
    """
    for names in (list(BLANK), ["image", "instruction"]):
        if found := shapley({left: _outcomes(arms, _blanked(left, names)) for left in coalitions(names)}):
            rows = found.items()
            return tuple(ShareRow(name=name, share=estimated(one), mde=one.smallest_detectable) for name, one in rows)
    return ()


def _blanked(left: Coalition, names: Sequence[str]) -> Role:
    """The role of the trained model that is played with those of the inputs blank that are not `left`."""
    changed = ", ".join(f"{BLANK[name]} {name}" for name in names if name not in left)
    return Role(Part.AT_TEST, changed) if changed else Role(Part.TRAINED)


def _whole(name: str, a: ArmRecord, b: ArmRecord) -> WholeRow:
    estimate = contrast(a.outcomes, b.outcomes)
    return WholeRow(
        name=name,
        a=a.name,
        b=b.name,
        difference=estimated(estimate),
        mde=estimate.smallest_detectable if estimate else None,
    )


def _arm(arm: ArmRecord, tasks: Sequence[str], cells: Cells) -> ArmRow:
    success = cell(arm.outcomes, cells)
    seeds = sorted(arm.outcomes)
    played_SE = np.array([arm.outcomes[seed] for seed in seeds], dtype=float).reshape(len(seeds), len(tasks))
    by_task = {task: found for task in dict.fromkeys(tasks) if (found := _on(task, arm, tasks, cells))}
    return ArmRow(
        name=arm.name,
        facts=arm.dropped or described(arm),
        seeds=len(seeds),
        episodes=len(tasks),
        success=success.value if success else None,
        ci95=(success.low, success.high) if success else None,
        trainable_parameters=arm.trainable_parameters,
        seconds=arm.seconds,
        screening=0 < len(seeds) < ENOUGH_SEEDS,
        by_seed={seed: float(row.mean()) for seed, row in zip(seeds, played_SE, strict=True)},
        by_task={task: found.value for task, found in by_task.items()},
        by_task_ci95={task: (found.low, found.high) for task, found in by_task.items()},
        iqm=seen(interquartile(arm.outcomes, tasks), len(seeds)),
        failed=dict(sorted(arm.failed.items())),
        missing=arm.missing,
        dropped=bool(arm.dropped),
    )


def _on(task: str, arm: ArmRecord, tasks: Sequence[str], cells: Cells) -> Interval | None:
    """Success on the episodes of one task."""
    names = np.array(tasks)
    return cell({seed: outcomes[names == task] for seed, outcomes in arm.outcomes.items()}, cells)
