from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from workbench import plan as plans
from workbench.augmentation import Augmentation
from workbench.benchmarks.contract import Protocol, Start
from workbench.plan import RESULTS_VERSION, Budget, Compute, Evaluate, Finetune, Inject, Inputs, Plan, needs, run_id
from workbench.recipes import Expert, Folder
from workbench.spec import Frozen, Lora, Slot, Spec, Value, digest

BASE = Finetune(spec=Spec(), data=Expert(tasks=("reach",)), budget=Budget(), protocol=Protocol(tasks=("reach",)))
GOLDEN = {
    "finetune": "f4b17065c44e",
    "inject": "7f417fcbdc93",
    "evaluate": "e818d4cf9ee1",
}
"""Ids of records that lie on people's disks. Where one changes on purpose, RESULTS_VERSION is raised with it."""


def plan_of(kind: str) -> Plan:
    if kind == "inject":
        return Inject(spec=Spec(), data=Expert(tasks=("reach",), split="injection"), budget=Budget())
    if kind == "evaluate":
        return Evaluate(of="0123456789ab", protocol=Protocol(tasks=("reach",)), inputs=Inputs(image="blank"))
    return BASE


@pytest.mark.parametrize("kind", GOLDEN)
def test_ids_are_the_same_on_every_machine_and_day(kind: str):
    assert run_id(plan_of(kind)) == GOLDEN[kind]


@pytest.mark.parametrize("kind", GOLDEN)
def test_a_plan_read_back_from_its_record_has_the_same_id(kind: str):
    adapter: TypeAdapter[Plan] = TypeAdapter(Plan)
    assert run_id(adapter.validate_json(plan_of(kind).model_dump_json())) == run_id(plan_of(kind))


def test_the_version_of_the_results_is_in_the_id(monkeypatch: pytest.MonkeyPatch):
    before = run_id(BASE)
    monkeypatch.setattr(plans, "RESULTS_VERSION", plans.RESULTS_VERSION + 1)
    assert run_id(BASE) != before


def test_a_dataset_is_known_by_its_content_not_by_its_path():
    def id_of(path: str, content: str) -> str:
        return run_id(BASE.model_copy(update={"data": Folder(path=path, digest=content)}))

    assert id_of("here", "aa") == id_of("there", "aa") != id_of("here", "bb")


OTHER: dict[type[Value], dict[str, Any]] = {
    Augmentation: {"shift": 4, "brightness": 0.2, "contrast": 0.2},
    Budget: {
        "steps": 301,
        "batch": 65,
        "learning_rate": 2e-3,
        "warmup_steps": 21,
        "schedule": "constant",
        "weight_decay": 0.1,
        "clip_norm": 2.0,
        "chunk": 5,
    },
    Compute: {
        "device": "cpu",
        "device_map": {"language": "cuda:1"},
        "dtype": "bfloat16",
        "attention": "eager",
        "gradient_checkpointing": True,
        "accumulate": 2,
        "processes": 2,
        "sharding": "full",
    },
    Expert: {
        "tasks": ("lift",),
        "episodes": 201,
        "split": "selection",
        "noise": 0.4,
        "mishaps": 0.1,
        "privileged": True,
    },
    Folder: {"digest": "ab", "camera": "wrist", "gripper": "continuous", "actions": 4},
    Protocol: {
        "tasks": ("lift",),
        "initial_states": 21,
        "n_action_steps": 1,
        "split": "selection",
        "horizon": 9,
        "rules": "0123456789ab",
    },
    Slot: {
        "module": "linear",
        "weights": "run:0123456789ab",
        "tune": {"kind": "frozen"},
        "tokens": "match",
        "rate": 0.1,
        "adapters": "kept",
    },
}
NEW = BASE.model_copy(update={"spec": Spec(projector=Slot(module="mlp", weights="run:ffffffffffff", tune=Lora()))})
"""With a slot that can use every field of a slot."""
OF_A_BENCHMARK = {"benchmark", "camera", "render"}
"""These cannot be changed alone: what a benchmark has is checked."""
ELSEWHERE = Expert(benchmark="metaworld-mt10", tasks=("reach-v3",))
FOLDER = BASE.model_copy(update={"data": Folder(path="here", digest="aa")})


PLAYED = Protocol(benchmark="metaworld-mt10", tasks=("reach-v3",))


def other_views(seen: Expert | Protocol) -> list[Value]:
    """The same with another camera, another render mode."""
    return [type(seen).model_validate({**seen.model_dump(), **view}) for view in VIEWS]


VIEWS = ({"camera": "corner2 64x64"}, {"render": "official"})


def with_other(model: type[Value], field: str) -> Plan:
    if model is Augmentation:
        given = Augmentation.model_validate({field: OTHER[model][field]})
        return plan_of("inject").model_copy(update={"augmentation": given})
    where = {Budget: "budget", Compute: "compute", Expert: "data", Folder: "data", Protocol: "protocol"}.get(
        model, "projector"
    )
    holder = {Slot: NEW.spec, Folder: FOLDER}.get(model, BASE)
    part = model.model_validate({**getattr(holder, where).model_dump(), field: OTHER[model][field]})
    update = {"spec": NEW.spec.with_slot("projector", part)} if isinstance(part, Slot) else {where: part}
    return BASE.model_copy(update=update)


def test_everything_that_can_change_a_result_is_in_the_id():
    changed = [with_other(model, field) for model, fields in OTHER.items() for field in fields]
    changed.append(BASE.model_copy(update={"seed": 1}))
    changed += [BASE.model_copy(update={"data": data}) for data in (ELSEWHERE, *other_views(ELSEWHERE))]
    changed += [BASE.model_copy(update={"protocol": one}) for one in (PLAYED, *other_views(PLAYED))]
    assert len({run_id(plan) for plan in (BASE, NEW, FOLDER, plan_of("inject"), *changed)}) == len(changed) + 4


def test_no_field_was_forgotten_in_the_test_above():
    for model, fields in OTHER.items():
        told = {"kind", "path"} | (OF_A_BENCHMARK if model in (Expert, Protocol) else set())
        assert set(model.model_fields) - told == set(fields), model


def test_inputs_at_test_are_in_the_id():
    inputs = [Inputs(image=i, instruction=w) for i in ("seen", "blank") for w in ("given", "blank")]
    plan = Evaluate(of="0123456789ab", protocol=Protocol(tasks=("reach",)), inputs=Inputs())
    assert len({run_id(plan.model_copy(update={"inputs": i})) for i in inputs}) == 4


def test_a_run_needs_the_runs_whose_weights_it_starts_from_each_once():
    one, two = Slot(weights="run:0123456789ab"), Slot(weights="run:ffffffffffff")
    spec = Spec(vision=one, projector=one, language=two)
    assert needs(BASE.model_copy(update={"spec": spec})) == ("0123456789ab", "ffffffffffff")
    assert needs(plan_of("evaluate")) == ("0123456789ab",)
    assert needs(BASE) == ()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_generator_takes_is_refused(seed: int):
    with pytest.raises(ValidationError, match="seed"):
        Finetune.model_validate({**dict(BASE), "seed": seed})


def test_the_manifest_of_a_protocol_is_pinned_whatever_is_executed_of_a_chunk():
    starts = Protocol(tasks=("lift",), initial_states=2, n_action_steps=1).manifest()
    assert starts == (Start("lift", 0, 404), Start("lift", 1, 404))


def test_the_manifest_is_a_function_of_the_protocol_and_its_splits_share_no_state():
    protocol = Protocol(tasks=("reach", "lift"), initial_states=3)
    starts = protocol.manifest()
    assert [start.task for start in starts] == ["reach"] * 3 + ["lift"] * 3
    assert len(set(starts)) == 6
    others = [protocol.model_copy(update={"split": split}) for split in ("injection", "finetune", "selection")]
    assert not {start for other in others for start in other.manifest()} & set(starts)
    assert len({p.manifest_digest() for p in (protocol, *others)}) == 4


def test_where_only_the_head_is_trained_the_id_says_that_its_prefix_is_read_once():
    still = Slot(tune=Frozen())
    head = BASE.model_copy(update={"spec": Spec(vision=still, projector=still, embeddings=still, language=still)})
    value = {"version": RESULTS_VERSION, "plan": head.model_dump(mode="json")}
    assert run_id(head) == digest(value | {"prefix": "once"}) != digest(value)
    some = BASE.model_copy(update={"spec": Spec(vision=still, projector=still, embeddings=still)})
    assert run_id(some) == digest({"version": RESULTS_VERSION, "plan": some.model_dump(mode="json")})
