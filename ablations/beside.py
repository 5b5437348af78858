"""One arm beside its reference: the study of two arms that each ablation's own command runs, and how to keep it."""

import json
from collections.abc import Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel

from ablations.arms import Arm, Contrast, Injection
from ablations.compare import ADAPTER, REFERENCE, arm_name
from ablations.runs import arm_runs
from ablations.study import Study
from ablations.study_file import with_digest
from workbench.edits import Edit, NoProprioception, Reinit, Replace, SetTune
from workbench.errors import UserError, unknown
from workbench.objectives.facts import facts
from workbench.plan import Inputs, check_inputs
from workbench.recipes import Expert, Folder
from workbench.spec import SLOTS, Frozen, LastBlocks, Lora, SlotName, Tune

NEW_ADAPTER = '{ module = "mlp", weights = "random", tokens = "match" }'
"""The projector of a base whose encoder is another one, as TOML says it: that of `compare.ADAPTER`."""
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


Input = Literal["image", "instruction", "proprioception"]
ABSENT = "absent"
"""In place of proprioception: a policy that takes none, at training as at test."""


def without(what: Input, how: str | None, *, retrained: bool) -> Arm:
    """The arm with one input changed, blank or zero where nothing is said. Raises UserError with the choices."""
    if (what, how) != ("proprioception", ABSENT):
        return masked(inputs_with(what, how), retrained=retrained)
    if retrained:
        raise UserError("A policy without proprioception is trained so anyway: leave --retrained out.")
    return Arm(name="no-proprioception", edits=(NoProprioception(),))


def inputs_with(what: Input, how: str | None) -> Inputs:
    """The inputs with one of them changed. Raises UserError with the choices."""
    choices = get_args(Inputs.model_fields[what].annotation)[1:]
    chosen: str = choices[0] if how is None else how
    if chosen not in choices:
        raise unknown(f"{what} in its place", chosen, (*choices, *([ABSENT] if what == "proprioception" else [])))
    return Inputs.model_validate({what: chosen})


def masked(inputs: Inputs, *, retrained: bool) -> Arm:
    """The trained model with other inputs: at test, or trained so too."""
    changed = [f"{name}-{value}" for name, value in inputs.model_dump().items() if value != getattr(Inputs(), name)]
    try:
        check_inputs(inputs, trained=retrained)
    except ValueError as error:
        raise UserError(f"{' '.join(changed)}: {error}.") from error
    return Arm(name="-".join((*changed, *(["retrained"] if retrained else []))), inputs=inputs, retrained=retrained)


def injected(study: Study, objective: str, folder: Path | None = None) -> tuple[Arm, Arm, dict[str, Injection]]:
    """The vision encoder trained on `objective` and then frozen, its reference, and the injection by its name.

    The injection has the budget of the study and episodes of its own: those of the LeRobot dataset in `folder`, or as
    many of the expert's as the study has.
    """
    privileged = facts(objective).privileged
    if folder is not None:
        data = with_digest(Folder(path=str(folder)))
    elif isinstance(study.data, Expert):
        data = study.data.model_copy(update={"split": "injection", "privileged": privileged})
    else:
        raise UserError(
            f"The demonstrations of study '{study.name}' are a folder: name another one for the injection with --data."
        )
    name = arm_name(objective)
    source = Replace(slot="vision", module=study.base.vision.module, weights=f"injection:{name}")
    edits = (source, SetTune(slot="vision", tune=Frozen()))
    injection = Injection(objective=objective, data=data, budget=study.budget)
    return Arm(name=f"injected-{name}-frozen", edits=edits), frozen(["vision"]), {name: injection}


def beside(
    study: Study,
    arm: Arm,
    reference: Arm,
    *,
    seeds: Sequence[int],
    injections: dict[str, Injection] | None = None,
) -> Study:
    """The study of `arm` and `reference`, under the conditions of `study`."""
    return study.sibling(
        name=f"{study.name}-{arm.name}",
        question=f"What does '{arm.name}' change, beside '{reference.name}', under the budget of '{study.name}'?",
        seeds=tuple(seeds),
        injections=injections,
        arms=(reference, arm),
        contrasts=(contrast_of(arm, reference),),
    )


def contrast_of(arm: Arm, reference: Arm) -> Contrast:
    return Contrast(name=f"{arm.name} over {reference.name}", a=arm.name, b=reference.name)


def usual_seeds(study: Study) -> tuple[int, ...]:
    """The most seeds that any arm of the study has."""
    return max([study.seeds, *(arm.seeds or () for arm in study.arms)], key=len)


def as_toml(pair: Study, study: Study) -> str:
    """What to append to the file of `study` to keep the arms of `pair` and their contrast; "" where it has all of it.

    Arms that `study` has already, under whatever name, are left out; seeds are written where they are not the study's.
    """
    names = {arm.name: _name_in(study, arm, pair) or _free(arm.name, study) for arm in pair.arms}
    taken = {arm.name for arm in study.arms}
    seeds = {} if pair.seeds == study.seeds else {"seeds": list(pair.seeds)}
    new = {names[arm.name]: _plain(arm) | seeds for arm in pair.arms if names[arm.name] not in taken}
    lines: list[str] = []
    for name, injection in pair.injections.items():
        if f"injection:{name}" in json.dumps(new):
            lines += [f"[injections.{name}]", *_fields(_plain(injection)), ""]
    for name, arm in new.items():
        lines += ["[[arms]]", *_fields(arm | {"name": name}), ""]
    declared = [{contrast.a, contrast.b} for contrast in study.contrasts]
    for contrast in pair.contrasts:
        a, b = names[contrast.a], names[contrast.b]
        if {a, b} not in declared:
            lines += ["[[contrasts]]", *_fields({"name": f"{a} over {b}", "a": a, "b": b}), ""]
    return "\n".join(lines[:-1])


def _name_in(study: Study, arm: Arm, pair: Study) -> str | None:
    """What `study` calls the arm of `pair` that has the same runs; None where it has no such arm."""
    seeds = {"seeds": pair.seeds[:1]}
    runs = {run.id for run in arm_runs(pair, arm.model_copy(update=seeds))}
    same = (own for own in study.arms if {run.id for run in arm_runs(study, own.model_copy(update=seeds))} == runs)
    return next((own.name for own in same), None)


def _free(name: str, study: Study) -> str:
    """The name, with a number where another arm of the study has it."""
    taken = {arm.name for arm in study.arms}
    numbered = (f"{name}-{number}" for number in count(2))
    return next(free for free in chain([name], numbered) if free not in taken)


TAGS = ("kind", "edit")
"""Keys that tell what kind of thing a table is: written even where they are the default."""


def _plain(value: Any) -> Any:
    """A value as tables and lists, without what is at its default."""
    match value:
        case BaseModel():
            fields = type(value).model_fields
            return {name: _plain(one) for name, one in value if name in TAGS or one != fields[name].default}
        case tuple():
            return [_plain(one) for one in value]
        case _:
            return value


def _fields(values: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in values.items()]


def _toml(value: Any) -> str:
    """A value as TOML writes it."""
    match value:
        case dict():
            return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
        case list():
            return "[" + ", ".join(_toml(inner) for inner in value) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)
