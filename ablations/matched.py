"""What is made equal between arms: the operations of a training, or the parameters that it trains.

torch is imported only where something has to be counted.
"""

from collections.abc import Mapping
from functools import cache

from ablations.arms import Arm
from workbench.actions import Actions
from workbench.errors import unknown
from workbench.spec import SLOTS, Lora, Spec


@cache
def step_flops(spec: str, chunk: int, batch: int, actions: Actions) -> int:
    """Operations of one step of the model that is written in JSON."""
    from workbench.count import training_cost

    return training_cost(Spec.model_validate_json(spec), chunk=chunk, batch=batch, actions=actions).step_flops


def trained(spec: Spec, *, chunk: int, actions: Actions) -> int:
    """How many parameters of the model are trained."""
    return _trained(spec.model_dump_json(), chunk, actions)


@cache
def _trained(spec: str, chunk: int, actions: Actions) -> int:
    from workbench.count import trainable_parameters

    return trainable_parameters(Spec.model_validate_json(spec), chunk=chunk, actions=actions)


def as_large(spec: Spec, wanted: int, *, chunk: int, actions: Actions) -> Spec:
    """`spec` with one rank in all its low-rank updates, with which `wanted` parameters are trained.

    Or as near as a whole rank comes. Each update keeps its scale: alpha grows as the rank does.
    """
    first, second = (trained(with_rank(spec, rank), chunk=chunk, actions=actions) for rank in (1, 2))
    each = second - first  # a rank costs every layer its inputs and its outputs
    return with_rank(spec, max(1, 1 + round((wanted - first) / each)))


def with_rank(spec: Spec, rank: int) -> Spec:
    """`rank` in every low-rank update, alpha in proportion."""
    for name in SLOTS:
        slot = spec.slot(name)
        if isinstance(slot.tune, Lora):
            changed = slot.tune.model_copy(update={"rank": rank, "alpha": slot.tune.alpha * rank / slot.tune.rank})
            spec = spec.with_slot(name, slot.model_copy(update={"tune": changed}))
    return spec


def ranks(spec: Spec) -> dict[str, int]:
    """The rank of each slot that has low-rank updates."""
    return {name: tune.rank for name in SLOTS if isinstance(tune := spec.slot(name).tune, Lora)}


def check_parameters(arm: Arm, spec: Spec, arms: Mapping[str, Arm]) -> None:
    """Raises ValueError where the arm cannot be as large as the one that it names."""
    owner, other = f"arm {arm.name!r}: parameters_of", arms.get(arm.parameters_of or "")
    if other is None:
        raise ValueError(f"{owner}: {unknown('arm', str(arm.parameters_of), arms)}")
    if other.reference or other.parameters_of:
        why = "trains nothing" if other.reference else f"takes its own size from {other.parameters_of!r}"
        raise ValueError(f"{owner} names {other.name!r}, which {why}: name an arm whose size is its own")
    if not ranks(spec):
        raise ValueError(f"{owner} chooses a rank, but no slot is tuned with 'lora': tune one so")
