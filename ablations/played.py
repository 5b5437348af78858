"""A study and its benchmark: what is demonstrated is what is played, and an arm asks for nothing that is not there."""

from collections.abc import Mapping
from typing import Any

from ablations.arms import Arm
from workbench.benchmarks.contract import TABLETOP, Protocol
from workbench.benchmarks.rules import benchmarks, rules_of
from workbench.edits import edited
from workbench.plan import check_proprioception
from workbench.recipes import Expert
from workbench.spec import Spec

SEEN = ("camera", "render")
SHARED = ("benchmark", "tasks", *SEEN)


def with_played(given: Any) -> Any:
    """What a study's file says, with the protocol's benchmark, tasks, camera and render mode for demonstrations of an
    expert that say nothing of their benchmark, and with the number of its state's numbers for `base.proprioception`.
    """
    if not isinstance(given, Mapping):
        return given
    given = _felt(given)
    if not isinstance(given.get("protocol"), Mapping):
        return given  # what is wrong with the protocol is told by itself
    shared = {key: value for key, value in given["protocol"].items() if key in SHARED}
    told = _told(given, shared)
    if isinstance(injections := given.get("injections"), Mapping):
        told = {**told, "injections": {name: _told(injection, shared) for name, injection in injections.items()}}
    return told


def _felt(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Whether the policy is given the robot's state as how many numbers that is, where the benchmark is known.

    Raises ValueError where the benchmark tells none.
    """
    base, protocol = given.get("base"), given.get("protocol")
    if not isinstance(base, Mapping) or not isinstance(base.get("proprioception"), bool):
        return given
    name = protocol.get("benchmark", TABLETOP) if isinstance(protocol, Mapping) else None
    width = len(rules_of(name).state) if name in benchmarks() else 0  # an unknown one is told by itself
    if base["proprioception"] and name in benchmarks() and not width:
        raise ValueError(f"base.proprioception is true, but {name} tells no state of its robot: leave it out")
    return {**given, "base": {**base, "proprioception": width if base["proprioception"] else 0}}


def _told(given: Any, shared: Mapping[str, Any]) -> Any:
    data = given.get("data") if isinstance(given, Mapping) else None
    if not isinstance(data, Mapping) or data.get("kind") != "expert" or "benchmark" in data:
        return given
    return {**given, "data": {**shared, **data}}


def check_data(name: str, data: Expert, protocol: Protocol) -> None:
    """Raises ValueError, led by `name`, where demonstrations are of another world, or show it as it is not played."""
    if rules_of(data.benchmark).world != rules_of(protocol.benchmark).world:
        raise ValueError(
            f"{name}.benchmark is {data.benchmark!r}, another world than the protocol's {protocol.benchmark!r}"
        )
    for key in SEEN:
        if (shown := getattr(data, key)) != (played := getattr(protocol, key)):
            raise ValueError(f"{name}.{key} is {shown!r}, but the protocol plays {played!r}")


def check_arm(arm: Arm, protocol: Protocol, base: Spec) -> None:
    """Raises ValueError that names the arm where it asks for what the benchmark, or its model, has not."""
    rules, has = rules_of(protocol.benchmark), f"arm {arm.name!r}: {protocol.benchmark} has no"
    if arm.reference and not rules.expert:
        raise ValueError(f"{has} scripted expert that could be a reference")
    if arm.learning_rates and "selection" not in rules.splits:
        raise ValueError(f"{has} selection episodes to choose a learning rate on: name one rate")
    if not {"wrong": rules.misnames, "paraphrased": rules.paraphrases}.get(arm.inputs.instruction, True):
        raise ValueError(f"{has} {arm.inputs.instruction} instructions")
    try:
        check_proprioception(edited(base, arm.edits), arm.inputs, protocol.benchmark)
    except ValueError as error:
        raise ValueError(f"arm {arm.name!r}: {error}") from error
