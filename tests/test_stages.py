"""Chains of stages: each is a run, and starts where the one before it ended, adapters merged or kept."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from test_adapt import batches, bits
from tiny_vlms import make

from ablations.runs import Wanted, wanted
from ablations.study import Study
from ablations.study_file import read_study
from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.collect import collect
from workbench.engines.local import carry_out
from workbench.errors import UserError
from workbench.execute import execute
from workbench.plan import Budget, Compute, Finetune, Inject, needs, run_id
from workbench.player import player_of, trained_encoder
from workbench.policy import Policy
from workbench.recipes import Expert
from workbench.record import begin, collected_folder, open_record, write_json
from workbench.spec import SLOTS, Frozen, Lora, Slot, SlotName, Spec, Tune
from workbench.stages import keep_adapters
from workbench.training.adapt import adapt
from workbench.weights import WEIGHTS, save_weights

BUDGET = {"steps": 3, "batch": 4, "learning_rate": 1e-2, "warmup_steps": 0, "schedule": "constant"}
LORA = {"kind": "lora", "rank": 2, "alpha": 6}
DORA = {**LORA, "dora": True}
BODY: tuple[SlotName, ...] = ("vision", "projector", "embeddings", "language")


def tune(slot: str, how: dict[str, Any]) -> dict[str, Any]:
    return {"edit": "tune", "slot": slot, "tune": how}


def injection(objective: str, *edits: dict[str, Any], **more: Any) -> dict[str, Any]:
    data = {"kind": "expert", "tasks": ["reach"], "episodes": 2, "split": "injection"}
    return {"objective": objective, "edits": list(edits), "data": data, "budget": BUDGET, **more}


def study(injections: dict[str, Any], *arms: dict[str, Any]) -> Study:
    content = {
        "name": "chain",
        "question": "Is the end where the last stage left it?",
        "data": {"kind": "expert", "tasks": ["reach"], "episodes": 2},
        "budget": BUDGET,
        "protocol": {"tasks": ["reach"], "initial_states": 1},
        "compute": {"device": "cpu"},
        "injections": injections,
        "arms": arms or [{"name": "plain"}],
    }
    return Study.model_validate(content)


CHAIN = {
    "robot": injection("behaviour-cloning", tune("language", LORA), after="seeing"),
    "seeing": injection("state", tune("vision", DORA)),
}
"""Declared in the wrong order: stages are listed and carried out as they follow each other."""
STUDY = study(
    CHAIN,
    {"name": "merged", "after": "robot"},
    {"name": "kept", "after": "robot", "adapters": "kept"},
)


def by_name(of: Study) -> dict[str, Wanted]:
    return {run.arm: run for run in wanted(of)}


def start_of(run: Wanted) -> dict[str, tuple[str, str]]:
    """Whose weights each slot starts from, and what becomes of their adapters."""
    assert isinstance(run.plan, Finetune | Inject)
    slots = {name: run.plan.spec.slot(name) for name in SLOTS}
    return {name: (slot.weights, slot.adapters) for name, slot in slots.items()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chain of `STUDY`, carried out by two workers that were given its runs last first."""
    root, runs = tmp_path_factory.mktemp("runs"), wanted(STUDY)
    for recipe in (STUDY.data, STUDY.injections["seeing"].data):
        assert isinstance(recipe, Expert)
        collect(recipe, collected_folder(root, recipe))
    ended = [e for e in carry_out([run.plan for run in reversed(runs)], root, workers=2) if e.stage == "recorded"]
    assert [event.run for event in ended][:2] == [runs[0].id, runs[1].id] and len(ended) == 4
    return root


def stored(root: Path, run: str) -> dict[str, torch.Tensor]:
    return load_file(root / by_name(STUDY)[run].id / WEIGHTS)


def test_stages_are_listed_in_order_and_each_starts_from_the_one_before():
    runs = by_name(STUDY)
    assert list(runs) == ["injection:seeing", "injection:robot", "merged", "kept"]
    seeing, robot = f"run:{runs['injection:seeing'].id}", f"run:{runs['injection:robot'].id}"
    new = {"head": ("random", "merged")}
    assert start_of(runs["injection:robot"]) == {slot: (seeing, "merged") for slot in BODY} | new
    assert start_of(runs["merged"]) == {slot: (robot, "merged") for slot in BODY} | new
    assert start_of(runs["kept"]) == start_of(runs["merged"]) | {"language": (robot, "kept")}
    kept = runs["kept"].plan
    assert isinstance(kept, Finetune) and kept.spec.language.tune == Lora(rank=2, alpha=6)
    assert needs(kept) == (runs["injection:robot"].id,)
    assert needs(runs["injection:robot"].plan) == (runs["injection:seeing"].id,)


def test_a_chain_of_three_is_carried_out_and_stages_move_what_they_train(root: Path):
    for run in wanted(STUDY):
        assert open_record(root, run.id).error is None
    names = {run: set(stored(root, run)) for run in by_name(STUDY)}
    adapted = {run: {k.split(".")[0] for k in keys if ".lora_" in k} for run, keys in names.items()}
    assert adapted == {
        "injection:seeing": {"vision"}, "injection:robot": {"language"}, "merged": set(), "kept": {"language"},
    }  # fmt: skip
    seeing, robot = stored(root, "injection:seeing"), stored(root, "injection:robot")
    language = {key: value for key, value in robot.items() if key.startswith("language.") and ".lora_" not in key}
    assert all(torch.equal(seeing[key.replace(".base_layer", "")], value) for key, value in language.items())


def hidden(policy: Policy, backbone: Backbone) -> torch.Tensor:
    """What the head is given: every other slot has a part in it, and so has the head's query."""
    batch = next(batches(backbone))
    with torch.no_grad():
        return policy.eval()(batch.image_BHWC, batch.words).hidden_BE


def started(spec: Spec, root: Path) -> tuple[Policy, Backbone]:
    """The policy of `spec` as a run would begin to train it."""
    policy, backbone = build(spec, 0, chunk=4, root=root)
    adapt(policy, spec, seed=1)
    keep_adapters(policy, spec, root)
    return policy, backbone


def test_merged_the_next_stage_computes_what_the_source_computed(root: Path):
    """With DoRA in vision after the first stage, with LoRA in the language model after the second."""
    for stage, following in (("seeing", "injection:robot"), ("robot", "merged")):
        source = player_of(open_record(root, by_name(STUDY)[f"injection:{stage}"].id))
        plan = by_name(STUDY)[following].plan
        assert isinstance(plan, Finetune | Inject)
        policy, backbone = started(plan.spec, root)
        policy.head.load_state_dict(source.policy.head.state_dict())
        updated = [value for key, value in source.policy.state_dict().items() if ".lora_B" in key]
        assert updated and all(value.abs().max() > 1e-3 for value in updated)
        expected, found = hidden(source.policy, source.backbone), hidden(policy, backbone)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_kept_adapters_are_bit_equal_before_training_and_train_on(root: Path):
    plan = by_name(STUDY)["kept"].plan
    assert isinstance(plan, Finetune)
    source = player_of(open_record(root, by_name(STUDY)["injection:robot"].id))
    policy, backbone = started(plan.spec, root)
    policy.head.load_state_dict(source.policy.head.state_dict())
    assert torch.equal(hidden(policy, backbone), hidden(source.policy, source.backbone))
    trained = {key for key, value in policy.named_parameters() if key.startswith("language.") and value.requires_grad}
    before, after = stored(root, "injection:robot"), stored(root, "kept")
    moved = {key for key in before if key.startswith("language.") and not torch.equal(before[key], after[key])}
    assert moved == trained and all(".lora_" in key for key in moved)
    rows = {row["slot"]: row for row in open_record(root, run_id(plan)).ledger()["rows"]}
    source_rows = open_record(root, by_name(STUDY)["injection:robot"].id).ledger()["rows"]
    assert rows["language"]["before"] == {row["slot"]: row["after"] for row in source_rows}["language"]


def test_what_was_merged_is_a_plain_slot_that_can_be_adapted_anew(root: Path):
    spec = Spec(language=Slot(weights=f"run:{by_name(STUDY)['injection:robot'].id}", tune=Lora(rank=3)))
    plain, merged = (build(one, 0, chunk=4, root=root)[0].language for one in (Spec(), spec))
    assert set(plain.state_dict()) == set(merged.state_dict())
    assert [type(m) for m in plain.modules()] == [type(m) for m in merged.modules()]
    with warnings.catch_warnings(action="error"):  # peft warns where it finds adapters
        policy, _ = started(spec, root)
    ranks = {value.shape[0] for key, value in policy.named_parameters() if ".lora_A" in key}
    assert ranks == {3}


def test_merging_leaves_the_global_generator_alone(root: Path):
    spec = Spec(language=Slot(weights=f"run:{by_name(STUDY)['injection:robot'].id}"))
    torch.manual_seed(4)
    state = torch.random.get_rng_state()
    build(spec, 0, chunk=4, root=root)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_encoder_of_a_run_that_started_from_an_adapted_one_is_that_runs(root: Path):
    record = open_record(root, by_name(STUDY)["merged"].id)
    found, expected = trained_encoder(record, root).state_dict(), stored(root, "merged")
    assert found and all(torch.equal(expected[f"vision.{key}"], value) for key, value in found.items())


def recorded(spec: Spec, root: Path) -> tuple[Policy, Backbone, str]:
    """A finished run of `spec`, as far as its weights are concerned: its adapters are moved, nothing is trained."""
    policy, backbone = build(spec, 0, chunk=4, root=root)
    adapt(policy, spec, seed=0)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for key, parameter in policy.named_parameters():
            if ".lora_" in key:
                parameter += 0.05 * torch.randn(parameter.shape, generator=draw)
    plan = Inject(spec=spec, data=Expert(episodes=1), budget=Budget(steps=1), compute=Compute(device="cpu"))
    folder = begin(root, plan)
    write_json(folder / "result.json", {"weights_sha256": save_weights(policy, folder)})
    return policy, backbone, f"run:{folder.name}"


@pytest.mark.parametrize("targets", [("*.experts.*",), ("*.experts.gate_up_proj",), ("*.experts.*", "*.self_attn.*")])
def test_updates_of_experts_are_merged_and_kept(tmp_path: Path, targets: tuple[str, ...]):
    backbone = str(make("qwen3_vl_moe", tmp_path / "vlm"))
    how = Lora(rank=2, alpha=3, targets=targets)
    source, reads, run = recorded(Spec(backbone=backbone, language=Slot(tune=how)), tmp_path)
    merged, _ = build(Spec(backbone=backbone, language=Slot(weights=run)), 0, chunk=4, root=tmp_path)
    untouched, _ = build(Spec(backbone=backbone), 0, chunk=4, root=tmp_path)
    assert set(merged.state_dict()) == set(untouched.state_dict())
    expected = hidden(source, reads)
    torch.testing.assert_close(hidden(merged, reads), expected, rtol=0, atol=1e-5)
    assert (hidden(untouched, reads) - expected).abs().max() > 1e-3
    kept, _ = started(Spec(backbone=backbone, language=Slot(weights=run, tune=how, adapters="kept")), tmp_path)
    assert torch.equal(hidden(kept, reads), expected)


@pytest.mark.parametrize("other", [Lora(rank=3), Lora(alpha=8), Lora(dora=True), Lora(targets=("*.q_proj",))])
def test_adapters_under_another_lora_are_refused_when_a_run_begins(tmp_path: Path, other: Tune):
    _, _, run = recorded(Spec(language=Slot(tune=Lora(rank=2))), tmp_path)
    spec = Spec(language=Slot(weights=run, tune=other, adapters="kept"))
    with pytest.raises(
        UserError, match=rf"^language\.adapters is 'kept', but its tune is not that of the run {run[4:]} "
    ):
        started(spec, tmp_path)
    dropping = Spec(language=Slot(weights=run, tune=Lora(rank=2, dropout=0.5), adapters="kept"))
    assert bits(started(dropping, tmp_path)[0]).keys() == bits(recorded(dropping, tmp_path)[0]).keys()


MISTAKES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"a": injection("state", after="b")}, {}, r"injections\n.* 'a': No injection named 'b'\. Known: a\."),
    (
        {"seeing": injection("state")},
        {"after": "seeign"},
        r"arms\n.* 'one': No injection named 'seeign'\. Did you .* 'seeing'",
    ),
    ({"a": injection("state", after="a")}, {}, r"the injection 'a' starts from itself \('a' → 'a'\)"),
    (
        {"a": injection("state", after="b"), "b": injection("state", after="c"), "c": injection("state", after="a")},
        {},
        r"the injection 'a' starts from itself \('a' → 'b' → 'c' → 'a'\)",
    ),
    (
        {
            "a": injection("state", {"edit": "replace", "slot": "vision", "weights": "injection:b"}),
            "b": injection("state", after="a"),
        },
        {},
        r"the injection 'a' starts from itself \('a' → 'b' → 'a'\)",
    ),
    (CHAIN, {"adapters": "kept"}, r"adapters are 'kept', but after names no injection"),
    (
        CHAIN,
        {"after": "robot", "adapters": "kept", "edits": [tune("language", {**LORA, "rank": 4})]},
        r"arm 'one': language\.adapters is 'kept', but its tune is not that of the injection 'robot' \(lora rank 4",
    ),
    (
        CHAIN,
        {"after": "robot", "adapters": "kept", "edits": [tune("language", {"kind": "full"})]},
        r"arm 'one': language\.adapters is 'kept', but its weights are 'injection:robot' and its tune is 'full'",
    ),
    (
        CHAIN | {"last": injection("state", after="robot", adapters="kept")},
        {},
        r"injections\.last: language\.adapters is 'kept', but .* its tune is 'frozen'",
    ),
    (
        CHAIN | {"last": injection("behaviour-cloning", tune("language", DORA), after="robot", adapters="kept")},
        {},
        r"injections\.last: language\.adapters is 'kept', but .* \(lora rank 2 alpha 6.0 dora True here, ",
    ),
    ({}, {"reference": "expert", "after": "a"}, r"after says nothing of the expert"),
]


@pytest.mark.parametrize(("injections", "arm", "said"), MISTAKES)
def test_a_chain_that_cannot_be_is_refused_in_one_sentence(injections: dict[str, Any], arm: dict[str, Any], said: str):
    with pytest.raises(ValidationError, match=said):
        study(injections, {"name": "one", **arm})


def test_an_edit_of_an_injection_may_name_another_one_too():
    edit = {"edit": "replace", "slot": "vision", "weights": "injection:seeing"}
    runs = by_name(study({"robot": injection("behaviour-cloning", edit), "seeing": CHAIN["seeing"]}))
    started_from = start_of(runs["injection:robot"])
    assert started_from.pop("vision") == (f"run:{runs['injection:seeing'].id}", "merged")
    assert {weights for weights, _ in started_from.values()} == {"pretrained", "random"}


def test_an_arm_after_a_stage_takes_over_what_the_stage_replaced_and_its_own_edits_come_last():
    module = {"edit": "replace", "slot": "projector", "module": "mlp", "weights": "random", "tokens": "match"}
    last = {"edit": "reinit", "slot": "vision"}
    of = study({"new": injection("behaviour-cloning", module)}, {"name": "one", "after": "new", "edits": [last]})
    plan = by_name(of)["one"].plan
    assert isinstance(plan, Finetune)
    assert plan.spec.projector == Slot(module="mlp", weights=f"run:{by_name(of)['injection:new'].id}", tokens="match")
    assert plan.spec.vision == Slot(weights="random")


def test_a_study_whose_chains_are_spelt_out_is_the_same_study():
    assert Study.model_validate(STUDY.model_dump()) == STUDY
    assert [run.id for run in wanted(Study.model_validate_json(STUDY.model_dump_json()))] == [
        run.id for run in wanted(STUDY)
    ]


def test_a_failed_stage_fails_those_after_it_by_name(root: Path):
    wrong = {**CHAIN["seeing"], "budget": {**BUDGET, "learning_rate": 1e30}}
    runs = by_name(study(CHAIN | {"seeing": wrong}, {"name": "one", "after": "robot"}))
    for run in runs.values():
        execute(run.plan, root)
    errors = [open_record(root, run.id).error or "" for run in runs.values()]
    first, second, _ = (run.id for run in runs.values())
    assert errors[0].startswith("NotFinite: ")
    assert errors[1].startswith(f"RunFailed: the run {first}, which this one starts from, failed: NotFinite: ")
    assert errors[2].startswith(
        f"RunFailed: the run {second}, which this one starts from, failed: RunFailed: the run {first}"
    )


def test_the_ready_made_study_of_stages_runs_each_stage_once_and_shares_the_demos_arm():
    runs = wanted(read_study("staged"))
    stages = [run.arm.removeprefix("injection:") for run in runs[:4]]
    assert stages == ["questions-lora", "robot-lora", "questions-full", "robot-full"]
    assert len(runs) == 4 + 6 * 3
    demo = {run.id for run in wanted(read_study("demo"))}
    assert {run.arm for run in runs if run.id in demo} == {"all-trained"}


def test_slots_that_keep_nothing_are_told_in_plans_as_before():
    assert "adapters" not in Spec(language=Slot(weights="run:0123456789ab", tune=Lora())).model_dump_json()
    kept = Slot(weights="run:0123456789ab", tune=Lora(), adapters="kept")
    assert Spec.model_validate_json(Spec(language=kept).model_dump_json()).language == kept
    for slot in (Slot(weights="random", tune=Lora(), adapters="kept"), kept.model_copy(update={"tune": Frozen()})):
        with pytest.raises(ValidationError, match="language.adapters is 'kept', but its weights are"):
            Spec.model_validate({"language": slot})
