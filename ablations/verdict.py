"""Which slot is the bottleneck: the rule, and the sentence that says so. Pure functions of freeze costs.

The rule: a slot is the bottleneck if its freeze cost is above 0 and above that of every other frozen slot, with Holm's
adjustment over these contrasts. All of them must hold, so the rule errs in fewer than 5 % of studies without one.
The head stays out: its weights are new, and a frozen head says how bad random weights are, not what the model holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablations.statistics import ALPHA, ENOUGH_SEEDS, Estimate, Outcomes, contrast, equivalent, holm
from ablations.table import Figure, SlotRow

MARGIN = 0.05  # a freeze cost shown to lie within +-5 points is called none


@dataclass(frozen=True)
class Decision:
    """What the rule found. `slot` is None where it does not hold for the `leader`, the slot with the largest freeze cost."""

    slot: str | None
    leader: str | None
    compared: tuple[str, ...]
    p: float | None
    screening: bool
    smallest_detectable: float | None
    unproven: tuple[str, ...]


def decide(costs: Mapping[str, Estimate], frozen: Mapping[str, Outcomes]) -> Decision:
    """Apply the rule to freeze costs (U - F) and the frozen arms' outcomes F, both by slot.

    `unproven` lists what the leader's cost was not shown to be above: "0" or a slot. One frozen slot alone is never
    the bottleneck: there is nothing to be worse than.
    """
    compared = tuple(costs)
    if not compared:
        return Decision(None, None, (), None, True, None, ())
    leader = max(compared, key=lambda slot: costs[slot].value)
    others = [slot for slot in compared if slot != leader]
    found = {slot: contrast(frozen[slot], frozen[leader]) for slot in others}
    against = {"0": costs[leader]} | {slot: estimate for slot, estimate in found.items() if estimate is not None}
    adjusted = dict(zip(against, holm([estimate.p for estimate in against.values()]), strict=True))
    unproven = tuple(name for name in against if against[name].value <= 0 or adjusted[name] > ALPHA)
    return Decision(
        slot=leader if others and not unproven else None,
        leader=leader,
        compared=compared,
        p=max(adjusted.values()),
        screening=any(estimate.screening for estimate in (*against.values(), *costs.values())),
        smallest_detectable=max((against[name].smallest_detectable for name in unproven), default=None),
        unproven=unproven,
    )


def slot_verdicts(costs: Mapping[str, Estimate], decision: Decision) -> dict[str, str]:
    """A few words for each slot that was frozen; "above 0" and "below 0" are Holm-adjusted over the slots."""
    adjusted = dict(zip(costs, holm([estimate.p for estimate in costs.values()]), strict=True))
    words = {slot: _words(slot, costs[slot], significant=adjusted[slot] <= ALPHA, decision=decision) for slot in costs}
    return {slot: f"{text} (screening)" if costs[slot].screening else text for slot, text in words.items()}


def _words(slot: str, cost: Estimate, *, significant: bool, decision: Decision) -> str:
    if slot == decision.slot:
        return "bottleneck"
    if decision.slot is not None:
        return f"above 0, below {decision.slot}" if significant and cost.value > 0 else f"below {decision.slot}"
    if significant:
        return "above 0, not above every other" if cost.value > 0 else "below 0: freezing helps"
    if equivalent(cost, MARGIN):
        return f"no cost (within ±{100 * MARGIN:.0f})"
    return f"undetermined (±{100 * cost.smallest_detectable:.1f})"


def sentence(decision: Decision, rows: Sequence[SlotRow], *, where: str, thin: Sequence[str]) -> str:
    """The verdict in words. `where` names backbone, head and benchmark; `thin` the arms with too few seeds for a claim."""
    by_slot = {row.slot: row for row in rows}
    if decision.leader is None:
        return f"Undetermined {where}: no slot's freeze cost can be computed from what is recorded."
    leader = by_slot[decision.leader]
    cost = f"{points(leader.freeze_cost)} points"
    if decision.slot is not None:
        head = (
            f"{decision.slot.capitalize()} is the bottleneck {where}: freezing it costs {cost}, more than freezing "
            f"{_either(decision, 'or')} (Holm-adjusted p = {decision.p:.2g})."
        )
    else:
        head = f"Undetermined {where}: the largest freeze cost is that of {leader.slot}, {cost}, {_why(decision)}."
    parts = [head, _relief(leader, rows), _injection(leader)]
    unmeasured = [row.slot for row in rows if row.freeze_cost is None and row.slot != "head"]
    if unmeasured:
        parts.append(f"Not compared, for lack of a played frozen arm: {', '.join(unmeasured)}.")
    if decision.screening:
        names = f" ({', '.join(thin)})" if thin else ""
        parts.insert(0, f"Screening, not a claim: fewer than {ENOUGH_SEEDS} training seeds in a compared cell{names}.")
    return " ".join(parts)


def points(figure: Figure | None) -> str:
    """`+12.3 [4.0, 20.1]`, in points; the one place where a figure with its interval becomes text."""
    if figure is None:
        return "–"
    return f"{100 * figure.value:+.1f} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
