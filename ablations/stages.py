"""Chains of stages: which injection another one, or an arm, starts from, spelt out as edits."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from pydantic import ValidationError

from ablations.arms import Arm, Injection
from ablations.parse import first_error
from workbench.adapters import kept_misfit
from workbench.edits import Edit, NoProprioception, Replace, SetTune, edited
from workbench.errors import unknown
from workbench.objectives.facts import facts
from workbench.spec import SLOTS, Frozen, Lora, SlotName, Spec

Injections = Mapping[str, Injection]
Stage = TypeVar("Stage", Arm, Injection)
INJECTION = "injection:"
BODY: tuple[SlotName, ...] = tuple(slot for slot in SLOTS if slot != "head")
"""Slots that a stage hands on: an action head is new in each, as its actions are."""


def spelt_out(base: Spec, injections: Injections) -> dict[str, Injection]:
    """The injections with edits in place of `after`. Raises ValueError for names that are unknown or go in a circle."""
    found: dict[str, Injection] = {}
    for name in injections:
        _spell(name, base, injections, found, ())
    return {name: found[name] for name in injections}


def _spell(name: str, base: Spec, injections: Injections, found: dict[str, Injection], path: tuple[str, ...]) -> None:
    _no_circle(name, path)
    if name in found:
        return
    if (source := injections[name].after) is not None:
        _known(source, injections, f"{name!r}")
        _spell(source, base, injections, found, (*path, name))
    found[name] = begun(injections[name], base, found, repr(name))


def begun(stage: Stage, base: Spec, injections: Injections, owner: str) -> Stage:
    """The arm or injection with edits in place of its `after`: every slot but the head starts from that injection.

    So do the modules in them, which that injection may have replaced. Slots with adapters that are kept also have its
    LoRA. Raises ValueError where there is no such injection, or where that one is impossible.
    """
    if stage.after is None:
        return stage
    _known(stage.after, injections, owner)
    source = spec_of(injections[stage.after], base, f"injections.{stage.after}")
    edits: list[Edit] = []
    for name in BODY:
        slot = source.slot(name)
        taken = {"module": slot.module, "weights": INJECTION + stage.after, "tokens": slot.tokens}
        if stage.adapters == "kept" and isinstance(slot.tune, Lora):
            edits += [SetTune(slot=name, tune=slot.tune), Replace(slot=name, **taken, adapters="kept")]
        else:
            edits.append(Replace(slot=name, **taken))
    return stage.model_copy(update={"after": None, "adapters": "merged", "edits": (*edits, *stage.edits)})


def spec_of(stage: Arm | Injection, base: Spec, owner: str) -> Spec:
    """The model of an arm or injection; what starts from an injection names it.

    Raises ValueError that names the owner of edits which make an impossible model.
    """
    assert stage.after is None, "a study spells it out"
    try:
        return edited(base, (*stage.edits, *(_unreached(stage.objective) if isinstance(stage, Injection) else ())))
    except ValidationError as error:
        raise ValueError(f"{owner}: {first_error(error, Spec)}") from error


def _unreached(objective: str) -> tuple[Edit, ...]:
    """An objective that reads the encoder alone trains nothing else; none is helped by the robot's state."""
    reached = facts(objective).reaches
    return (*(SetTune(slot=slot, tune=Frozen()) for slot in SLOTS if slot not in reached), NoProprioception())


def sources(spec: Spec) -> Iterator[str]:
    """Names of the injections that a spec's slots start from, each once."""
    weights = (spec.slot(slot).weights for slot in SLOTS)
    yield from dict.fromkeys(source.removeprefix(INJECTION) for source in weights if source.startswith(INJECTION))


def reached(base: Spec, arms: Iterable[Arm], injections: Injections) -> dict[str, Injection]:
    """Those of the injections that the arms start from, or that these start from in turn."""
    names = [name for arm in arms for name in sources(spec_of(arm, base, arm.name))]
    for name in names:  # grows as it goes
        names += [more for more in sources(spec_of(injections[name], base, name)) if more not in names]
    return {name: one for name, one in injections.items() if name in names}


def in_order(base: Spec, injections: Injections) -> list[str]:
    """Names of the injections, each behind those that it starts from, else as declared.

    Raises ValueError where one starts from itself, from one that there is not, or keeps adapters that do not fit.
    """
    order: list[str] = []
    for name in injections:
        _add(name, base, injections, order, ())
    return order


def _add(name: str, base: Spec, injections: Injections, order: list[str], path: tuple[str, ...]) -> None:
    _no_circle(name, path)
    if name in order:
        return
    owner = f"injections.{name}"
    spec = spec_of(injections[name], base, owner)
    for source in sources(spec):
        _known(source, injections, owner)
        _add(source, base, injections, order, (*path, name))
    check_sources(spec, base, injections, owner)
    order.append(name)


def check_sources(spec: Spec, base: Spec, injections: Injections, owner: str) -> None:
    """Raises ValueError, with its owner, for a spec that starts from an injection that there is not or does not fit."""
    for slot in SLOTS:
        kind, _, name = spec.slot(slot).weights.partition(":")
        if kind == "injection":
            _known(name, injections, owner)
            source = spec_of(injections[name], base, f"injections.{name}").slot(slot)
            misfit = kept_misfit(slot, spec.slot(slot).tune, source.tune, f"the injection {name!r}")
            if spec.slot(slot).adapters == "kept" and misfit:
                raise ValueError(f"{owner}: {misfit}")


def _known(name: str, injections: Injections, owner: str) -> None:
    if name not in injections:
        raise ValueError(f"{owner}: {unknown('injection', name, injections)}")


def _no_circle(name: str, path: tuple[str, ...]) -> None:
    if name in path:
        circle = " → ".join(repr(one) for one in (*path[path.index(name) :], name))
        raise ValueError(f"the injection {name!r} starts from itself ({circle}): start one of them from something else")
