"""What an arm is to the table, told by the facts of its ledger and never by its name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ablations.outcomes import ArmRecord, SlotFact
from workbench.plan import Inputs
from workbench.spec import SLOTS

NEW = "head"
"""The slot whose weights no backbone brings: they are always new, and no role asks for them."""


class Part(StrEnum):
    """Whose success a column needs; the rest of the model is pretrained and fully trained unless said otherwise."""

    TRAINED = "all trained"
    SCRATCH = "all random, trained"
    HEAD_ONLY = "only the head trained"
    EXPERT = "the expert"
    AT_TEST = "all trained, given at test"
    RETRAINED = "all trained, given at training and at test"
    FROZEN = "frozen"
    RANDOM_FROZEN = "random and frozen"
    RANDOM_TRAINED = "random and trained"
    INJECTED_FROZEN = "injected and frozen"
    INJECTED_TRAINED = "injected and trained"
    WITH_HEAD = "trained with the head alone"


@dataclass(frozen=True)
class Role:
    """A part that one arm plays: for one slot, for one way to change the inputs, or for the whole model."""

    part: Part
    of: str | None = None

    def __str__(self) -> str:
        if self.part in (Part.AT_TEST, Part.RETRAINED):
            return f"{self.part}: {self.of}"
        return f"{self.of} {self.part}" if self.of else str(self.part)


INJECTED = (Part.INJECTED_FROZEN, Part.INJECTED_TRAINED)
UNTOUCHED: dict[str, str] = dict(Inputs())
Facts = tuple[SlotFact, ...]  # in the order of SLOTS
_FULL, _KEPT = SlotFact("pretrained", "full"), SlotFact("pretrained", "frozen")
_ONE_SLOT = {
    Part.FROZEN: _KEPT,
    Part.RANDOM_FROZEN: SlotFact("random", "frozen"),
    Part.RANDOM_TRAINED: SlotFact("random", "full"),
    Part.INJECTED_FROZEN: SlotFact("injected", "frozen"),
    Part.INJECTED_TRAINED: SlotFact("injected", "full"),
}


def role_of(arm: ArmRecord) -> Role | None:
    """The one role that the arm's facts fit; None for LoRA, replaced modules, several slots, or no record yet."""
    if arm.reference == "expert":
        return Role(Part.EXPERT)
    if arm.control or not _plain(arm):
        return None
    role, changed = _ROLES.get(_facts(arm.slots)), changed_inputs(arm)
    if not changed:
        return role
    if role != Role(Part.TRAINED) or (arm.absent and not _retrained(arm)):
        return None
    return Role(Part.RETRAINED if _retrained(arm) else Part.AT_TEST, changed)


def controls(arms: Iterable[ArmRecord], slot: str) -> dict[str, ArmRecord]:
    """The arms whose slot was injected with a negative control and then frozen, by name."""
    wanted = Role(Part.INJECTED_FROZEN, slot)
    return {arm.name: arm for arm in arms if arm.control and injected_role(arm) == wanted}


def injected_role(arm: ArmRecord) -> Role | None:
    """The role of an arm of which one slot was injected, be it with a negative control; None for every other arm."""
    if not _plain(arm) or changed_inputs(arm):
        return None
    role = _ROLES.get(_facts(arm.slots))
    return role if role is not None and role.part in INJECTED else None


def _plain(arm: ArmRecord) -> bool:
    """Whether its ledger tells all that there is to an arm's model."""
    return not (arm.replaced or arm.otherwise) and set(arm.slots) == set(SLOTS)


def changed_inputs(arm: ArmRecord) -> str:
    """What an arm is given in place of its inputs, in words: `blank image, no proprioception`, or nothing."""
    given = [f"{getattr(arm.inputs, name)} {name}" for name in UNTOUCHED if _touched(arm.inputs, name)]
    return ", ".join((*given, *(f"no {name}" for name in arm.absent)))


def _retrained(arm: ArmRecord) -> bool:
    """Whether it was trained without its changed inputs too, as a model is that does not take what the base's does."""
    return arm.retrained or (bool(arm.absent) and arm.inputs == Inputs())


def _touched(inputs: Inputs, name: str) -> bool:
    return getattr(inputs, name) != UNTOUCHED[name]


def roles(arms: Iterable[ArmRecord]) -> tuple[dict[Role, ArmRecord], tuple[str, ...]]:
    """The arm of each role, and a note for each arm whose role an earlier arm already has.

    No note where a slot was injected: each injection has a row of its own.
    """
    found: dict[Role, ArmRecord] = {}
    notes = []
    for arm in arms:
        role = role_of(arm)
        if role is None:
            continue
        if role not in found:
            found[role] = arm
        elif role.part not in INJECTED:
            notes.append(f"'{found[role].name}' and '{arm.name}' are both '{role}'; the slots' rows use the first.")
    return found, tuple(notes)


def described(arm: ArmRecord) -> str:
    """The facts in words: how the arm differs from a pretrained model that is trained in full."""
    if arm.reference:
        return f"the {arm.reference} plays"
    if not arm.slots:
        return "no ledger yet"
    ordered = {slot: arm.slots[slot] for slot in SLOTS if slot in arm.slots}
    facts = {slot: SlotFact(_origin(slot, fact), fact.moved) for slot, fact in ordered.items()}
    words = []
    for fact in dict.fromkeys(facts.values()):
        unlike = [text for text in (fact.weights, fact.moved) if text not in ("pretrained", "full")]
        if unlike:
            words.append(f"{_slots(fact, facts)} {' '.join(unlike)}")
    if arm.replaced:
        words.append("module replaced")
    if changed := changed_inputs(arm):
        words.append(f"{changed} at {'training and test' if _retrained(arm) else 'test'}")
    words += arm.otherwise
    return ", ".join(words) or "all trained"


def _slots(fact: SlotFact, facts: Mapping[str, SlotFact]) -> str:
    """The slots that share a fact, or those that do not where they are fewer; a new head is random like the rest."""
    others = [slot for slot in facts if facts[slot] != fact]
    if not others or (others == [NEW] and facts[NEW].moved == fact.moved):
        return "all"
    if 2 * len(others) < len(facts):
        return f"all but {'+'.join(others)}"
    return "+".join(slot for slot in facts if facts[slot] == fact)


def _origin(slot: str, fact: SlotFact) -> str:
    """Whose weights, as far as it decides a role: not which injection, and nothing for the new head."""
    if slot == NEW:
        return "pretrained"
    return "injected" if fact.weights.startswith("run:") else fact.weights


def _facts(slots: Mapping[str, SlotFact]) -> Facts:
    return tuple(SlotFact(_origin(slot, slots[slot]), slots[slot].moved) for slot in SLOTS)


def _pattern(default: SlotFact, **changed: SlotFact) -> Facts:
    return _facts({slot: changed.get(slot, default) for slot in SLOTS})


def _roles() -> dict[Facts, Role]:
    patterns = {
        _pattern(_FULL): Role(Part.TRAINED),
        _pattern(SlotFact("random", "full")): Role(Part.SCRATCH),
        _pattern(_KEPT, **{NEW: _FULL}): Role(Part.HEAD_ONLY),
    }
    for slot in SLOTS:
        patterns[_pattern(_FULL, **{slot: _KEPT})] = Role(Part.FROZEN, slot)
        if slot != NEW:
            patterns |= {_pattern(_FULL, **{slot: fact}): Role(part, slot) for part, fact in _ONE_SLOT.items()}
            patterns[_pattern(_KEPT, **{NEW: _FULL, slot: _FULL})] = Role(Part.WITH_HEAD, slot)
    return patterns


_ROLES = _roles()
