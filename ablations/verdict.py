"""Which slot is the bottleneck: the rule, and the words that say what it found. Pure functions of freeze costs.

The rule: a slot is the bottleneck if its freeze cost is above 0 and above that of every other frozen slot, with Holm's
adjustment over these contrasts. All of them must hold, so the rule errs in fewer than 5 % of studies without one.
The head stays out: its weights are new, and freezing them says how bad random weights are, not what the model holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablations.contrasts import MARGIN
from ablations.notation import effect, percent, plural, points, probability
from ablations.statistics.adjustment import holm
from ablations.statistics.contrast import contrast, equivalent
from ablations.statistics.design import Outcomes
from ablations.statistics.interval import ALPHA, ENOUGH_SEEDS, Estimate
from ablations.table import ContrastRow, SlotRow

BOTTLENECK = "bottleneck"
NOTHING = "0"  # what a freeze cost is first compared with


@dataclass(frozen=True)
class Decision:
    """What the rule found.

    `leader` is the slot with the largest freeze cost, None where no slot has one; `slot` is the leader where the rule
    holds. `unproven` lists what its cost was not shown to be above (0 or a slot), `smallest_detectable` the largest of
    the effects that those comparisons could have found. `p` is the largest adjusted p. `thin` lists the slots whose
    freeze cost or comparison rests on too few training seeds for a claim.
    """

    slot: str | None
    leader: str | None
    others: tuple[str, ...]
    unproven: tuple[str, ...]
    p: float
    smallest_detectable: float
    thin: tuple[str, ...]


def decide(costs: Mapping[str, Estimate], frozen: Mapping[str, Outcomes]) -> Decision:
    """Apply the rule to freeze costs (U - F) and to the outcomes of the frozen arms (F), both by slot.

    A slot that alone was frozen is no bottleneck: there is nothing that it is worse than.
    """
    if not costs:
        return Decision(None, None, (), (), 1.0, 0.0, ())
    leader = max(costs, key=lambda slot: costs[slot].value)
    others = tuple(slot for slot in costs if slot != leader)
    against = {NOTHING: costs[leader]}
    for slot in others:
        if (estimate := contrast(frozen[slot], frozen[leader])) is not None:
            against[slot] = estimate
    adjusted = dict(zip(against, holm([estimate.p for estimate in against.values()]), strict=True))
    unproven = tuple(name for name in against if against[name].value <= 0 or adjusted[name] > ALPHA)
    return Decision(
        slot=leader if others and not unproven else None,
        leader=leader,
        others=others,
        unproven=unproven,
        p=max(adjusted.values()),
        smallest_detectable=max((against[name].smallest_detectable for name in unproven), default=0.0),
        thin=tuple(slot for slot in costs if costs[slot].screening or (slot in against and against[slot].screening)),
    )


def slot_words(costs: Mapping[str, Estimate], decision: Decision) -> dict[str, str]:
    """The verdict on each slot that was frozen; "above 0" and "below 0" are Holm-adjusted over the slots."""
    adjusted = dict(zip(costs, holm([estimate.p for estimate in costs.values()]), strict=True))
    words = {slot: _words(slot, costs[slot], adjusted[slot] <= ALPHA, decision=decision) for slot in costs}
    return {slot: f"screening: {text}" if costs[slot].screening else text for slot, text in words.items()}


def _words(slot: str, cost: Estimate, significant: bool, *, decision: Decision) -> str:
    if slot == decision.slot:
        return BOTTLENECK
    if decision.slot is not None:
        return f"below {decision.slot}, above 0" if significant and cost.value > 0 else f"below {decision.slot}"
    if significant:
        return "above 0, not above all" if cost.value > 0 else "below 0: freezing helps"
    if equivalent(cost, MARGIN):
        return f"none (within ±{effect(MARGIN)})"
    return f"undetermined (mde {effect(cost.smallest_detectable)})"


def sentence(decision: Decision, rows: Sequence[SlotRow], *, where: str) -> str:
    """The verdict on the study. `where` names backbone, head and benchmark: no verdict holds beyond them."""
    leader = next((row for row in rows if row.slot == decision.leader), None)
    if leader is None:
        return f"Undetermined {where}: no freeze cost can be computed from what is recorded."
    cost = f"{points(leader.freeze_cost)} points"
    if decision.slot is None:
        first = f"Undetermined {where}: the largest freeze cost is that of {leader.slot}, {cost}, {_why(decision)}."
    else:
        first = (
            f"{leader.slot.capitalize()} is the bottleneck {where}: freezing it costs {cost}, more than freezing "
            f"{_listed(decision.others, 'or')} (Holm-adjusted p {_at_most(decision.p)})."
        )
    unfrozen = [row.slot for row in rows if row.freeze_cost is None]
    parts = [first, _relief(leader, rows), _injection(leader)]
    if unfrozen:
        parts.append(f"Not compared, since no arm that freezes it was played: {_listed(unfrozen, 'and')}.")
    if decision.thin:
        seeds = f"fewer than {ENOUGH_SEEDS} training seeds behind the freeze cost of {_listed(decision.thin, 'and')}"
        parts.insert(0, f"Screening, not a claim ({seeds}).")
    return " ".join(parts)


def holds(row: ContrastRow) -> bool:
    """Whether the difference is shown, after the adjustment of its kind."""
    return row.p_adjusted is not None and row.p_adjusted <= ALPHA


def without_freezing(contrasts: Sequence[ContrastRow], *, where: str) -> str:
    """The verdict on a study that freezes no slot: which of its declared contrasts hold."""
    first = f"No arm freezes a slot {where}: a bottleneck is not looked for."
    played = [row for row in contrasts if row.figure is not None]
    if not played:
        return first
    held = [row for row in played if holds(row)]
    asked = plural(len(played), "declared contrast")
    if not held:
        return f"{first} Of {asked} none is shown to differ from 0 (Holm)."
    shown = "; ".join(f"{row.name} ({points(row.figure)})" for row in held)
    thin = f" Screening, not a claim: fewer than {ENOUGH_SEEDS} training seeds." if held[0].screening else ""
    return f"{first} Of {asked} {len(held)} differ{'s' * (len(held) == 1)} from 0 (Holm), in points: {shown}.{thin}"


def _why(decision: Decision) -> str:
    if not decision.others:
        return "and no other slot was frozen to compare it with"
    unproven = _listed([name if name == NOTHING else f"that of {name}" for name in decision.unproven], "or")
    size = effect(decision.smallest_detectable)
    return f"not shown to be above {unproven} (smallest detectable effect {size} points)"


def _relief(leader: SlotRow, rows: Sequence[SlotRow]) -> str:
    measured = {row.slot: row for row in rows if row.relief is not None}
    if leader.slot not in measured or len(measured) == 1:
        return "Relief was not measured, so it cannot confirm the ranking."
    first = max(measured.values(), key=lambda row: row.relief.value if row.relief else 0.0)
    if first is leader:
        return f"Relief ranks it first too ({points(leader.relief)})."
    return f"Relief ranks {first.slot} first instead ({points(first.relief)} against {points(leader.relief)})."


def _injection(row: SlotRow) -> str:
    gain = row.injection_gain
    if gain is None:
        return f"No injection into {row.slot} was played frozen."
    if gain.low <= 0 <= gain.high:
        return f"Injection is not shown to move it ({points(gain)})."
    if gain.high < 0:
        return f"Injection makes it worse ({points(gain)})."
    share = f", which is {percent(row.recovery)} % of the freeze cost" if row.recovery else ""
    return f"Injection moves it: {points(gain)} points while frozen{share}."


def _listed(names: Sequence[str], last: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def _at_most(p: float) -> str:
    return f"≤ {probability(p)}" if p >= 0.001 else "< 0.001"
