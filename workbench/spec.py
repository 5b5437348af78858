"""A model as a value: five slots, what fills them, whose weights they start from, and what of them is trained.

No torch here: a spec is read from TOML, edited, compared and digested before any tensor exists.
"""

import hashlib
import json
import re
from functools import reduce
from typing import Annotated, Any, Literal, assert_never, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from workbench.errors import unknown

SlotName = Literal["vision", "projector", "embeddings", "language", "head"]
SLOTS: tuple[SlotName, ...] = get_args(SlotName)


class Value(BaseModel):
    """A frozen value that refuses keys it does not know, and numbers that are none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Frozen(Value):
    """Nothing of the slot moves, buffers included; it stays in eval mode."""

    kind: Literal["frozen"] = "frozen"


class Full(Value):
    """Every parameter of the slot is trained."""

    kind: Literal["full"] = "full"


class Lora(Value):
    """Low-rank updates of the slot's linear layers (arXiv:2106.09685); rank and alpha are independent."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)


class LastBlocks(Value):
    """Only the last `blocks` transformer blocks of the slot are trained."""

    kind: Literal["last-blocks"] = "last-blocks"
    blocks: int = Field(ge=1)


Tune = Annotated[Frozen | Full | Lora | LastBlocks, Field(discriminator="kind")]


def _source(weights: str) -> str:
    if not re.fullmatch(r"pretrained|random|run:[0-9a-f]{12}|injection:[a-z0-9-]+", weights):
        raise ValueError(str(unknown("weights", weights, ["pretrained", "random", "run:<id>", "injection:<name>"])))
    return weights


Weights = Annotated[str, AfterValidator(_source)]


class Slot(Value):
    """Which module, whose weights, what moves.

    `weights` is `pretrained`, `random`, `run:<id>` (the same slot of a finished run) or, in a study,
    `injection:<name>`, which the study turns into the id of the run that it declares under that name.
    """

    module: str = "native"
    weights: Weights = "pretrained"
    tune: Tune = Full()


class Spec(Value):
    """A backbone and its five slots."""

    backbone: str = "embedded"
    vision: Slot = Slot()
    projector: Slot = Slot()
    embeddings: Slot = Slot()
    language: Slot = Slot()
    head: Slot = Slot(module="chunk-mlp", weights="random")

    @model_validator(mode="after")
    def _possible(self) -> "Spec":
        if self.head.weights == "pretrained":
            raise ValueError(
                "head.weights is 'pretrained', but no backbone has an action head: use 'random' or 'run:<id>'"
            )
        for name in ("embeddings", "language"):
            if self.slot(name).module != "native":
                raise ValueError(f"{name}.module is {self.slot(name).module!r}; the choice for this slot is 'native'")
        return self

    def slot(self, name: SlotName) -> Slot:
        return getattr(self, name)

    def with_slot(self, name: SlotName, slot: Slot) -> "Spec":
        return Spec.model_validate({**dict(self), name: slot})


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


class Reinit(Value):
    """Random weights in one slot; module and tune stay."""

    edit: Literal["reinit"] = "reinit"
    slot: SlotName


Edit = Annotated[SetTune | Replace | Reinit, Field(discriminator="edit")]


def apply(spec: Spec, edit: Edit) -> Spec:
    """The spec after one edit; the given one is unchanged."""
    slot = spec.slot(edit.slot)
    match edit:
        case SetTune():
            changed = {"tune": edit.tune}
        case Replace():
            changed = {"module": edit.module, "weights": edit.weights}
        case Reinit():
            changed = {"weights": "random"}
        case _:
            assert_never(edit)
    return spec.with_slot(edit.slot, slot.model_copy(update=changed))


def edited(spec: Spec, edits: tuple[Edit, ...]) -> Spec:
    return reduce(apply, edits, spec)


def digest(value: Any) -> str:
    """Twelve hexadecimal digits of a value's canonical JSON: equal values, equal digests, on every machine."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
