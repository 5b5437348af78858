"""One arm beside its reference: what each ablation's command makes out of a study, and what it says to keep of it."""

from pathlib import Path

import pytest

from ablations.arms import Arm, Injection
from ablations.beside import (
    TRAINED,
    adapted,
    as_toml,
    beside,
    frozen,
    injected,
    inputs_with,
    masked,
    replaced,
    restarted,
    usual_seeds,
)
from ablations.compare import ADAPTER
from ablations.runs import injection_plan, wanted
from ablations.study import Study
from ablations.study_file import CONFIGS, read_study
from workbench.edits import edited
from workbench.errors import UserError
from workbench.plan import Inputs
from workbench.recipes import Expert, Folder
from workbench.spec import Frozen, LastBlocks, Lora, Slot

SMOKE, DEMO = read_study("smoke"), read_study("demo")
LORA = Lora(rank=3, alpha=0.5, dora=True)


def pair_of(
    arm: Arm, reference: Arm = TRAINED, injections: dict[str, Injection] | None = None, *, study: Study = SMOKE
) -> Study:
    return beside(study, arm, reference, seeds=study.seeds, injections=injections)


def ids(study: Study) -> set[str]:
    return {run.id for run in wanted(study)}


def appended(folder: Path, toml: str, study: str = "smoke") -> Study:
    """The study's file with the lines at its end, as a person would paste them."""
    path = folder / f"{study}.toml"
    path.write_text((CONFIGS / f"{study}.toml").read_text() + "\n" + toml)
    return read_study(str(path))


def test_everything_but_arms_and_seeds_is_the_studys():
    pair = beside(DEMO, frozen(["head"]), TRAINED, seeds=(4, 5))
    shared = ("base", "data", "budget", "protocol", "compute")
    assert all(getattr(pair, name) == getattr(DEMO, name) for name in shared)
    assert pair.seeds == (4, 5) and [arm.name for arm in pair.arms] == ["all-trained", "freeze-head"]
    (contrast,) = pair.contrasts
    assert (contrast.a, contrast.b) == ("freeze-head", "all-trained")


def test_a_command_and_a_study_that_ask_the_same_share_their_runs():
    for arm in (frozen(["vision"]), frozen(["language"]), restarted("vision", shuffled=False, freeze=True)):
        asked = beside(DEMO, arm, TRAINED, seeds=(0,))
        assert ids(asked) <= ids(DEMO) and len(ids(asked)) == 2
    assert ids(pair_of(*injected(DEMO, "behaviour-cloning"), study=DEMO)) <= ids(DEMO)


def test_as_many_seeds_as_the_arm_that_has_most():
    assert usual_seeds(DEMO) == (0, 1, 2) and usual_seeds(SMOKE) == (0,)


@pytest.mark.parametrize(
    ("arm", "slot", "becomes"),
    [
        (frozen(["vision"]), "vision", {"tune": Frozen()}),
        (adapted("language", LORA), "language", {"tune": LORA}),
        (adapted("vision", LastBlocks(blocks=2)), "vision", {"tune": LastBlocks(blocks=2)}),
        (restarted("language", shuffled=False, freeze=False), "language", {"weights": "random"}),
        (restarted("vision", shuffled=True, freeze=True), "vision", {"weights": "shuffled", "tune": Frozen()}),
        (replaced("head", "flow-matching", random_weights=False)[0], "head", {"module": "flow-matching"}),
        (replaced("language", "first-blocks:1", random_weights=False)[0], "language", {"module": "first-blocks:1"}),
    ],
)
def test_an_arm_changes_its_slot_and_no_other(arm: Arm, slot, becomes):
    spec = edited(SMOKE.base, arm.edits)
    assert spec == SMOKE.base.with_slot(slot, SMOKE.base.slot(slot).model_copy(update=becomes))


def test_several_slots_are_frozen_together_and_named_in_the_models_order():
    arm = frozen(["language", "vision"])
    assert arm.name == "freeze-vision-language" and arm == frozen(["vision", "language"])
    spec = edited(SMOKE.base, arm.edits)
    assert [isinstance(spec.slot(slot).tune, Frozen) for slot in ("vision", "language", "head")] == [True, True, False]


def test_another_encoder_and_its_reference_get_the_same_new_adapter():
    arm, reference = replaced("vision", "tiny", random_weights=True)
    assert reference.edits == (ADAPTER,) and arm.edits[1:] == (ADAPTER,)
    assert edited(SMOKE.base, arm.edits).vision == Slot(module="tiny", weights="random")


def test_another_language_model_brings_its_embeddings_and_an_adapter_on_both_sides():
    arm, reference = replaced("language", "hf:./folder", random_weights=True)
    spec = edited(SMOKE.base, arm.edits)
    assert spec.language == spec.embeddings == Slot(module="hf:./folder", weights="random")
    assert reference.edits == (ADAPTER,) and spec.projector == edited(SMOKE.base, reference.edits).projector


def test_a_new_projector_or_head_is_compared_with_the_base_itself():
    assert replaced("projector", "linear", random_weights=False)[1] == TRAINED
    assert replaced("head", "flow-matching", random_weights=False)[1] == TRAINED


def test_masked_inputs_are_given_at_test_or_at_training_too():
    at_test, trained = (masked(inputs_with("image", "blank"), retrained=again) for again in (False, True))
    assert at_test.inputs == trained.inputs == Inputs(image="blank")
    assert [run.plan.kind for run in wanted(pair_of(at_test))] == ["finetune", "evaluate"]
    assert [run.plan.kind for run in wanted(pair_of(trained))] == ["finetune", "finetune"]


def test_an_injection_has_the_studys_budget_episodes_of_its_own_and_freezes_what_it_gives():
    arm, reference, injections = injected(SMOKE, "behaviour-cloning")
    (injection,) = injections.values()
    assert injection.budget == SMOKE.budget and reference == frozen(["vision"])
    assert injection.data == SMOKE.data.model_copy(update={"split": "injection"}) != SMOKE.data
    pair = pair_of(arm, reference, injections)
    runs = {run.arm: run for run in wanted(pair)}
    source = runs["injection:behaviour-cloning"]
    assert source.plan == injection_plan(pair, "behaviour-cloning")
    spec = runs[arm.name].plan.spec  # pyright: ignore
    assert (spec.vision.weights, spec.vision.tune) == (f"run:{source.id}", Frozen())


def test_a_signal_that_only_the_simulator_knows_is_collected_and_a_sum_has_a_name():
    arm, _, injections = injected(SMOKE, "behaviour-cloning + 0.5*depth")
    ((name, injection),) = injections.items()
    assert arm.name == f"injected-{name}-frozen" and isinstance(injection.data, Expert) and injection.data.privileged
    assert injection.objective == "behaviour-cloning + 0.5*depth"


def test_what_is_matched_is_matched_beside_too():
    matched = SMOKE.model_copy(update={"matched": "operations"})
    arm = frozen(["vision"])
    steps = pair_of(arm, study=matched).budget_of(arm).steps
    assert steps == matched.budget_of(arm).steps > SMOKE.budget.steps


def test_an_arm_brings_the_whole_chain_of_its_injections():
    first = Injection(data=Expert(split="injection"), budget=SMOKE.budget)
    chain = {"first": first, "second": first.model_copy(update={"after": "first", "seed": 1})}
    arm = Arm(name="staged", after="second")
    study = Study.model_validate(
        {**dict(SMOKE), "injections": {**chain, "idle": first}, "arms": [arm], "contrasts": []}
    )
    pair = pair_of(study.arms[0], study=study)
    assert set(pair.injections) == {"first", "second"}


def test_an_injection_goes_into_the_encoder_that_the_study_has():
    base = edited(SMOKE.base, replaced("vision", "tiny", random_weights=True)[0].edits)
    study = SMOKE.model_copy(update={"base": base})
    arm, _, _ = injected(study, "behaviour-cloning")
    assert edited(base, arm.edits).vision.module == "tiny"


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda: frozen(["vison"]), "No slot named 'vison'. Did you mean 'vision'"),
        (lambda: frozen(["vision", "vision"]), "'vision' is named twice"),
        (lambda: replaced("embeddings", "mlp", random_weights=False), "replace 'language', and they go with it"),
        (lambda: inputs_with("image", "wrng"), "'wrng'. Known: blank, first-frame, noise, other-episode"),
        (lambda: inputs_with("image", "seen"), "'seen'"),
        (lambda: masked(Inputs(image="noise"), retrained=True), "image-noise: a policy is not trained on noise"),
        (lambda: masked(Inputs(instruction="task-id"), retrained=False), "means nothing to a policy"),
        (lambda: injected(SMOKE, "foo"), "No objective named 'foo'. Known: action-regression, behaviour-cloning"),
        (
            lambda: injected(SMOKE.model_copy(update={"data": Folder(path="mine")}), "behaviour-cloning"),
            "demonstrations of study 'smoke' are a folder",
        ),
    ],
)
def test_a_mistake_is_told_in_a_sentence(mistake, said: str):
    with pytest.raises(UserError, match=said):
        mistake()


PAIRS = [
    pair_of(frozen(["head", "vision"])),
    pair_of(adapted("language", LORA)),
    pair_of(adapted("language", LastBlocks(blocks=2))),
    pair_of(restarted("language", shuffled=True, freeze=True)),
    pair_of(*replaced("vision", "timm:vit_tiny_patch16_224", random_weights=False)),
    pair_of(*replaced("language", "first-blocks:1", random_weights=False)),
    pair_of(masked(inputs_with("instruction", "task-id"), retrained=True)),
    pair_of(masked(inputs_with("image", "first-frame"), retrained=False)),
    pair_of(*injected(SMOKE, "behaviour-cloning")),
]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_what_is_printed_is_added_to_the_study_and_asks_for_the_same_runs(pair: Study, tmp_path: Path):
    kept = appended(tmp_path, as_toml(pair, SMOKE))
    assert ids(kept) == ids(SMOKE) | ids(pair)
    assert len(kept.contrasts) == len(SMOKE.contrasts) + 1
    assert as_toml(pair, kept) == ""


def test_an_arm_that_the_study_has_under_another_name_is_not_added_again(tmp_path: Path):
    pair = pair_of(masked(inputs_with("image", "blank"), retrained=False))
    toml = as_toml(pair, SMOKE)
    assert "[[arms]]" not in toml and 'a = "blank-image"' in toml and 'b = "all-trained"' in toml
    assert appended(tmp_path, toml).arms == SMOKE.arms


def test_a_contrast_that_the_study_declares_is_not_added_again():
    assert as_toml(pair_of(frozen(["vision"])), SMOKE) == ""


def test_an_arm_whose_name_another_one_has_is_called_otherwise(tmp_path: Path):
    pair = pair_of(frozen(["projector"]))  # smoke's freeze-projector chooses between learning rates
    toml = as_toml(pair, SMOKE)
    assert 'name = "freeze-projector-2"' in toml
    assert ids(pair) <= ids(appended(tmp_path, toml))


def test_seeds_that_are_not_the_studys_are_written_down(tmp_path: Path):
    pair = beside(SMOKE, frozen(["head"]), TRAINED, seeds=(3, 1))
    kept = {arm.name: arm for arm in appended(tmp_path, as_toml(pair, SMOKE)).arms}
    assert kept["freeze-head"].seeds == (3, 1) and kept["all-trained"].seeds is None
