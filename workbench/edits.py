"""How an arm differs from its base: edits of one slot each, or of what the policy is given, as values."""

from functools import reduce
from typing import Annotated, Literal, assert_never

from pydantic import Field

from workbench.spec import Adapters, SlotName, Spec, Tokens, Tune, Value, Weights, later


class SetTune(Value):
    """Freeze, train, or partly train one slot."""

    edit: Literal["tune"] = "tune"
    slot: SlotName
    tune: Tune


class Replace(Value):
    """Another module, or another run's weights, in one slot; its tune stays."""

    edit: Literal["replace"] = "replace"
    slot: SlotName
    module: str = "native"
    weights: Weights = "pretrained"
    tokens: Tokens = later("keep")
    adapters: Adapters = later("merged")


class Reinit(Value):
    """Random weights in one slot, or the pretrained ones shuffled; module and tune stay."""

    edit: Literal["reinit"] = "reinit"
    slot: SlotName
    weights: Literal["random", "shuffled"] = later("random")


class SetRate(Value):
    """Another learning rate in one slot: `factor` times that of the budget."""

    edit: Literal["rate"] = "rate"
    slot: SlotName
    factor: float = Field(gt=0)


class NoProprioception(Value):
    """The policy is not given the robot's state, nor trained with it."""

    edit: Literal["no-proprioception"] = "no-proprioception"


Edit = Annotated[SetTune | Replace | Reinit | SetRate | NoProprioception, Field(discriminator="edit")]


def _changed(spec: Spec, edit: Edit) -> Spec:
    if isinstance(edit, NoProprioception):
        return spec.model_copy(update={"proprioception": 0})
    slot = spec.slot(edit.slot)
    match edit:
        case SetTune():
            changed = {"tune": edit.tune}
        case Replace():
            changed = {name: getattr(edit, name) for name in ("module", "weights", "tokens", "adapters")}
        case Reinit():
            changed = {"weights": edit.weights, "adapters": "merged"}
        case SetRate():
            changed = {"rate": edit.factor}
        case _:
            assert_never(edit)
    return spec.model_copy(update={edit.slot: slot.model_copy(update=changed)})  # checked once all edits are made


def apply(spec: Spec, edit: Edit) -> Spec:
    """The spec after one edit; the given one is unchanged."""
    return edited(spec, (edit,))


def edited(spec: Spec, edits: tuple[Edit, ...]) -> Spec:
    """The spec after all edits in turn. Only the last has to be possible: some slots are replaced together."""
    return Spec.model_validate(dict(reduce(_changed, edits, spec)))
