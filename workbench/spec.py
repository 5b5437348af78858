"""A model as a value: five slots, what fills them, whose weights they start from, and what of them is trained.

No torch here: a spec is read from TOML, edited, compared and digested before any tensor exists.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from workbench.errors import unknown

SlotName = Literal["vision", "projector", "embeddings", "language", "head"]
SLOTS: tuple[SlotName, ...] = get_args(SlotName)


KINDS: dict[Any, str] = {int: "integer", float: "number"}


class Value(BaseModel):
    """A frozen value that refuses keys it does not know, and numbers that are none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _of_their_kind(cls, given: Any) -> Any:
        """A number is not written as a text or a truth value, as pydantic would take it."""
        for name, value in given.items() if isinstance(given, Mapping) else ():
            kind = cls.model_fields[name].annotation if name in cls.model_fields else None
            if (kind in KINDS and isinstance(value, bool | str)) or (kind is bool and not isinstance(value, bool)):
                raise ValueError(f"{name}: Input should be a valid {KINDS.get(kind, 'boolean')} (got {value!r})")
        return given


def later(default: Any, **limits: Any) -> Any:
    """A field that was added later: left out of dumps at its default, so that older digests stay what they were."""
    return Field(default=default, exclude_if=lambda value: value == default, **limits)


class Frozen(Value):
    """Nothing of the slot moves, buffers included; it stays in eval mode."""

    kind: Literal["frozen"] = "frozen"


class Full(Value):
    """Every parameter of the slot is trained."""

    kind: Literal["full"] = "full"


class Lora(Value):
    """Low-rank updates (arXiv:2106.09685) of the slot's linear layers and experts; rank and alpha are independent.

    `dora` trains the length of each output's weights too (arXiv:2402.09353). `targets` are patterns (`*`, `?`) of names
    within the slot, instead of all that can be adapted.
    """

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = later(0.0, ge=0, lt=1)
    dora: bool = later(False)
    targets: tuple[str, ...] | None = later(None, min_length=1)


class LastBlocks(Value):
    """Only the last `blocks` transformer blocks of the slot are trained."""

    kind: Literal["last-blocks"] = "last-blocks"
    blocks: int = Field(ge=1)


class Norms(Value):
    """Only the parameters of the slot's normalisation layers are trained (arXiv:2003.00152)."""

    kind: Literal["norms"] = "norms"


Tune = Annotated[Frozen | Full | Lora | LastBlocks | Norms, Field(discriminator="kind")]
Adapters = Literal["merged", "kept"]
"""What becomes of the low-rank updates of a run that a slot starts from."""


def _source(weights: str) -> str:
    if not re.fullmatch(r"pretrained|random|shuffled|run:[0-9a-f]{12}|injection:[a-z0-9-]+", weights):
        choices = ["pretrained", "random", "shuffled", "run:<id>", "injection:<name>"]
        raise ValueError(str(unknown("weights", weights, choices)))
    return weights


def _prompt(text: str) -> str:
    if "{instruction}" not in text:
        raise ValueError(f"{text!r} has no place for the instruction: write {{instruction}} where it belongs")
    return text


def named(name: str) -> str:
    """A name that can be part of a folder's. Raises ValueError for another one."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise ValueError(f"{name!r} is no name: use lower-case letters, digits and hyphens, such as freeze-vision")
    return name


Name = Annotated[str, AfterValidator(named)]
Weights = Annotated[str, AfterValidator(_source)]
Tokens = Literal["keep", "match"] | Annotated[int, Field(ge=1)]
"""How many image tokens a new projector gives: as many as it is given, as many as the native one gives, or so many."""


class Slot(Value):
    """Which module, whose weights, what moves and how fast.

    `weights` is `pretrained`, `random`, `shuffled` (pretrained, the numbers within each tensor in random order),
    `run:<id>` (the same slot of a finished run) or, in a study, `injection:<name>`, which the study turns into the id
    of the run that it declares under that name. That run's low-rank updates are `merged` into the weights, or `kept`
    apart and trained on. `tokens` is for new projectors. `rate` multiplies the learning rate.
    """

    module: str = "native"
    weights: Weights = "pretrained"
    tune: Tune = Full()
    tokens: Tokens = later("keep")
    rate: float = later(1.0, gt=0)
    adapters: Adapters = later("merged")

    @model_validator(mode="after")
    def _moving(self) -> "Slot":
        if self.rate != 1.0 and isinstance(self.tune, Frozen):
            raise ValueError(f"rate is {self.rate:g} in a frozen slot, which learns nothing: leave it out")
        return self


class Spec(Value):
    """A backbone and its five slots.

    `prompt` is what the user says in the backbone's chat template, `{instruction}` left open; None: its family's own.
    `proprioception` is how many numbers of the robot's state the policy is given, 0 for none; a study says `true` for
    as many as its benchmark tells. `contents` are fingerprints of the local files that it names, filled in when a study
    is planned.
    """

    backbone: str = "embedded"
    prompt: Annotated[str, AfterValidator(_prompt)] | None = later(None)
    proprioception: int = later(0, ge=0)
    vision: Slot = Slot()
    projector: Slot = Slot()
    embeddings: Slot = Slot()
    language: Slot = Slot()
    head: Slot = Slot(module="chunk-mlp", weights="random")
    contents: dict[str, str] = later({})

    @model_validator(mode="after")
    def _possible_head(self) -> "Spec":
        if self.head.weights in ("pretrained", "shuffled"):
            raise ValueError(
                f"head.weights is {self.head.weights!r}, but no backbone has an action head: use 'random' or 'run:<id>'"
            )
        return self

    @model_validator(mode="after")
    def _possible_language(self) -> "Spec":
        language, embeddings = self.language.module, self.embeddings.module
        if not re.fullmatch(r"native|first-blocks:[1-9]\d*|hf:.+", language):
            raise ValueError(
                f"language.module is {language!r}; the choices for this slot are 'native', 'first-blocks:<k>' and "
                "'hf:<hub id or folder>'"
            )
        own = language if language.startswith("hf:") else "native"
        if embeddings != own:
            raise ValueError(
                f"embeddings.module is {embeddings!r}; beside language.module {language!r} it has to be {own!r}, "
                "since a language model reads its own embeddings"
            )
        if own != "native" and self.projector.module == "native":
            raise ValueError(
                "projector.module is 'native', which was trained for the backbone's own language model; beside "
                f"language.module {language!r} it has to be a new one"
            )
        return self

    @model_validator(mode="after")
    def _possible_tokens(self) -> "Spec":
        for name in SLOTS:
            if self.slot(name).tokens != "keep" and (name != "projector" or self.projector.module == "native"):
                raise ValueError(
                    f"{name}.tokens is {self.slot(name).tokens!r}, but only a new projector chooses its tokens"
                )
        return self

    @model_validator(mode="after")
    def _possible_adapters(self) -> "Spec":
        for name in SLOTS:
            slot = self.slot(name)
            started = slot.weights.startswith(("run:", "injection:"))
            if slot.adapters == "kept" and not (started and isinstance(slot.tune, Lora)):
                raise ValueError(
                    f"{name}.adapters is 'kept', but its weights are {slot.weights!r} and its tune is "
                    f"{slot.tune.kind!r}: kept are those of a run or an injection, under the same 'lora'"
                )
        return self

    def slot(self, name: SlotName) -> Slot:
        return getattr(self, name)

    def with_slot(self, name: SlotName, slot: Slot) -> "Spec":
        return Spec.model_validate({**dict(self), name: slot})


def only_head(spec: Spec) -> bool:
    """Whether nothing but the head, and the query in it, is trained: all that stands before the query is at rest."""
    return all(isinstance(spec.slot(name).tune, Frozen) for name in SLOTS if name != "head")


def with_random_weights(spec: Spec) -> Spec:
    """The same modules and tunes, no slot of which needs a weights file."""
    random = {"weights": "random", "adapters": "merged"}
    slots = {name: spec.slot(name).model_copy(update=random) for name in SLOTS}
    return Spec.model_validate({**dict(spec), **slots, "contents": {}})


def digest(value: Any) -> str:
    """Twelve hexadecimal digits of a value's canonical JSON: equal values, equal digests, on every machine."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
