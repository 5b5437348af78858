"""One arm beside its reference: the study of two arms that each ablation's own command runs, and how to keep it."""

import json
import re
from collections.abc import Sequence
from typing import Literal, get_args

from ablations.arms import Arm, Contrast, Injection
from ablations.compare import ADAPTER, REFERENCE, arm_name
from ablations.study import Study
from workbench.errors import UserError, unknown
from workbench.plan import Expert, Inputs, check_inputs
from workbench.spec import SLOTS, Edit, Frozen, LastBlocks, Lora, Reinit, Replace, SetTune, SlotName, Tune

TRAINED = Arm(name="all-trained")
"""The study's base as it is: what most arms are compared with."""


def check_slots(names: Sequence[str]) -> tuple[SlotName, ...]:
    """The names as slots. Raises UserError for one that is none, or is named twice."""
    for name in names:
        if name not in SLOTS:
            raise unknown("slot", name, SLOTS)
        if names.count(name) > 1:
            raise UserError(f"The slot {name!r} is named twice.")
    return tuple(slot for slot in SLOTS if slot in names)


def tuned(kind: str, slots: Sequence[str], tune: Tune) -> Arm:
    """The arm that tunes these slots otherwise: `freeze-vision-language`."""
    chosen = check_slots(slots)
    return Arm(name="-".join((kind, *chosen)), edits=tuple(SetTune(slot=slot, tune=tune) for slot in chosen))


def frozen(slots: Sequence[str]) -> Arm:
    return tuned("freeze", slots, Frozen())


def adapted(slot: str, tune: Lora | LastBlocks) -> Arm:
    match tune:
        case Lora():
            return tuned(f"{'dora' if tune.dora else 'lora'}-{tune.rank}", [slot], tune)
        case LastBlocks():
            return tuned(f"last-{tune.blocks}", [slot], tune)


def restarted(slot: str, *, shuffled: bool, freeze: bool) -> Arm:
    """The slot without its pretraining: random, or its own numbers shuffled; trained, or left so."""
    (chosen,) = check_slots([slot])
    edits: list[Edit] = [Reinit(slot=chosen, weights="shuffled" if shuffled else "random")]
    edits += [SetTune(slot=chosen, tune=Frozen())] if freeze else []
    return Arm(
        name=f"{'shuffled' if shuffled else 'random'}-{chosen}-{'frozen' if freeze else 'trained'}", edits=tuple(edits)
    )


def replaced(slot: str, module: str, *, random_weights: bool) -> tuple[Arm, Arm]:
    """The arm with another module in a slot, and its reference: with a new projector on both sides where it needs one.

    An adapter alone changes success, so that another encoder is compared with the native one through the same adapter.
    """
    (chosen,) = check_slots([slot])
    start = "random" if random_weights else "pretrained"
    adapter = Arm(name=REFERENCE, edits=(ADAPTER,))
    match chosen:
        case "vision":
            edits = (Replace(slot="vision", module=module, weights=start), ADAPTER)
            return Arm(name=arm_name(module), edits=edits), adapter
        case "projector":
            reference, edits = TRAINED, (Replace(slot="projector", module=module, weights="random", tokens="match"),)
        case "head":
            reference, edits = TRAINED, (Replace(slot="head", module=module, weights="random"),)
        case "language" if module.startswith("hf:"):
            both = tuple(Replace(slot=one, module=module, weights=start) for one in ("language", "embeddings"))
            reference, edits = adapter, (*both, ADAPTER)
        case "language":
            reference, edits = TRAINED, (Replace(slot="language", module=module, weights=start),)
        case "embeddings":
            raise UserError("Embeddings belong to their language model: replace 'language', and they go with it.")
    return Arm(name=f"{chosen}-{arm_name(module)}", edits=edits), reference


def inputs_with(what: Literal["image", "instruction"], how: str) -> Inputs:
    """The inputs with one of them changed. Raises UserError with the choices."""
    choices = get_args(Inputs.model_fields[what].annotation)[1:]
    if how not in choices:
        raise unknown(f"{what} in its place", how, choices)
    return Inputs.model_validate({what: how})


def masked(inputs: Inputs, *, retrained: bool) -> Arm:
    """The trained model with another image or instruction: at test, or trained so too."""
    changed = [f"{name}-{value}" for name, value in inputs.model_dump().items() if value != getattr(Inputs(), name)]
    try:
        check_inputs(inputs, trained=retrained)
    except ValueError as error:
        raise UserError(f"{' '.join(changed)}: {error}.") from error
    return Arm(name="-".join((*changed, *(["retrained"] if retrained else []))), inputs=inputs, retrained=retrained)


def injected(study: Study, objective: str) -> tuple[Arm, Arm, Injection]:
    """The vision encoder trained on `objective` and then frozen, its reference, and the injection.

    The injection has as many demonstrations as the study, its budget, and episodes of its own.
    """
    if objective not in OBJECTIVES:
        raise unknown("objective", objective, OBJECTIVES)
    if not isinstance(study.data, Expert):
        raise UserError(
            f"The demonstrations of study '{study.name}' are a folder: write the injection, with episodes of its own, "
            "into the study."
        )
    data = study.data.model_copy(update={"split": "injection"})
    edits = (Replace(slot="vision", weights=f"injection:{objective}"), SetTune(slot="vision", tune=Frozen()))
    injection = Injection(objective=objective, data=data, budget=study.budget)
    return Arm(name=f"injected-{objective}-frozen", edits=edits), frozen(["vision"]), injection


OBJECTIVES = ("behaviour-cloning",)


def beside(
    study: Study,
    arm: Arm,
    reference: Arm,
    *,
    seeds: Sequence[int],
    injections: dict[str, Injection] | None = None,
) -> Study:
    """The study of `arm` and `reference`: base, data, budget, protocol and compute are those of `study`."""
    return Study(
        name=f"{study.name}-{arm.name}",
        question=f"What does '{arm.name}' change, beside '{reference.name}', under the budget of '{study.name}'?",
        base=study.base,
        data=study.data,
        budget=study.budget,
        protocol=study.protocol,
        compute=study.compute,
        seeds=tuple(seeds),
        injections=injections or {},
        arms=(reference, arm),
        contrasts=(contrast_of(arm, reference),),
    )


def contrast_of(arm: Arm, reference: Arm) -> Contrast:
    return Contrast(name=f"{arm.name} over {reference.name}", a=arm.name, b=reference.name)


def usual_seeds(study: Study) -> tuple[int, ...]:
    """The most seeds that any arm of the study has."""
    return max([study.seeds, *(arm.seeds or () for arm in study.arms)], key=len)


def as_toml(study: Study) -> str:
    """What to add to a study file to keep the arms, their injections and their contrast."""
    lines: list[str] = []
    for name, injection in study.injections.items():
        lines += [f"[injections.{name}]", *_fields(injection.model_dump(mode="json", exclude_defaults=True)), ""]
    for arm in study.arms:
        lines += ["[[arms]]", *_fields(_arm_fields(arm)), ""]
    for contrast in study.contrasts:
        lines += ["[[contrasts]]", *_fields(contrast.model_dump()), ""]
    return "\n".join(lines[:-1])


def _arm_fields(arm: Arm) -> dict:
    plain = arm.model_dump(mode="json", exclude_defaults=True)
    edits = [_tagged(edit) for edit in arm.edits]
    return plain | ({"edits": edits} if edits else {})


def _tagged(edit: Edit) -> dict:
    """What is not a default, and the tags that tell what kind of thing it is."""
    plain = {"edit": edit.edit} | edit.model_dump(mode="json", exclude_defaults=True)
    if isinstance(edit, SetTune):
        plain["tune"] = {"kind": edit.tune.kind, **edit.tune.model_dump(mode="json", exclude_defaults=True)}
    return plain


def _fields(values: dict) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in values.items()]


def _toml(value: object) -> str:
    """A value as TOML writes it."""
    match value:
        case dict():
            return "{ " + ", ".join(f"{_key(key)} = {_toml(inner)}" for key, inner in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(_toml(inner) for inner in value) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key) else json.dumps(key)
