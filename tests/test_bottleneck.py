"""Whole studies with planted effects: the table must find them, and must not find what was not planted."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planted import Draw, arm, facts, full_study, injected, only, pretrained, random, record

from ablations.bottleneck import SlotFact, StudyRecord, bottleneck
from ablations.notation import points
from ablations.report.columns import sections
from ablations.roles import Part, Role, described, role_of
from ablations.statistics.adjustment import benjamini_hochberg
from ablations.statistics.contrast import contrast
from ablations.table import SlotRow, Table
from ablations.verdict import decide
from workbench.errors import UserError
from workbench.plan import Inputs

BLANK = Inputs(image="blank")
SLOTS_FROZEN = ("vision", "projector", "embeddings", "language")
KEYS = {
    "arms": {"name", "seeds", "episodes", "success", "ci95", "trainable_parameters"},
    "contrasts": {"name", "a", "b", "difference", "ci95", "p", "seeds", "mde"},
    "slots": {
        "slot",
        "freeze_cost",
        "relief",
        "pretraining_value",
        "random_floor",
        "injection_gain",
        "recovery",
        "verdict",
    },
}


def row(table: Table, slot: str) -> SlotRow:
    return next(one for one in table.slots if one.slot == slot)


def without(study: StudyRecord, *names: str) -> StudyRecord:
    return replace(study, arms=tuple(one for one in study.arms if one.name not in names), contrasts=())


def changed(study: StudyRecord, name: str, **values: Any) -> StudyRecord:
    return replace(study, arms=tuple(replace(one, **values) if one.name == name else one for one in study.arms))


@pytest.fixture(scope="module")
def study() -> StudyRecord:
    return full_study(np.random.default_rng(0))


@pytest.fixture(scope="module")
def table(study) -> Table:
    return bottleneck(study)


def success(study: StudyRecord, name: str) -> float:
    return float(np.mean(list(next(one for one in study.arms if one.name == name).outcomes.values())))


def test_the_json_has_the_promised_keys_and_reads_back(table):
    stored = json.loads(table.as_json())
    assert {"study", "backbone", "benchmark", "manifest", "selection", "arms", "contrasts", "slots"} <= set(stored)
    for part, keys in KEYS.items():
        assert all(keys <= set(one) for one in stored[part])
    assert {"value", "low", "high"} <= set(stored["slots"][0]["freeze_cost"])
    assert stored["slots"][1]["relief"] is None
    assert Table.model_validate_json(table.as_json()) == table


def test_every_column_is_the_difference_that_it_is_defined_as(study, table):
    vision = row(table, "vision")
    expected = {
        "freeze_cost": ("all-trained", "freeze-vision"),
        "relief": ("vision-and-head", "head-only"),
        "pretraining_value": ("all-trained", "random-vision-trained"),
        "injection_gain": ("injected-frozen", "freeze-vision"),
        "trained_injection_gain": ("injected-trained", "all-trained"),
    }
    for column, (a, b) in expected.items():
        figure = getattr(vision, column)
        assert figure.value == pytest.approx(success(study, a) - success(study, b))
        assert figure.low < figure.value < figure.high and figure.seeds == 5
    assert vision.random_floor is not None and vision.recovery is not None
    assert vision.random_floor.value == pytest.approx(success(study, "random-vision-frozen"))
    gain, cost = vision.injection_gain, vision.freeze_cost
    assert gain is not None and cost is not None
    assert vision.recovery.value == pytest.approx(gain.value / cost.value)


def test_what_the_whole_model_owes_is_measured_against_the_trained_model(study, table):
    found = {one.name: one for one in table.whole}
    pairs = {name: (one.a, one.b) for name, one in found.items()}
    assert pairs == {
        "pretraining": ("all-trained", "scratch"),
        "training more than the head": ("all-trained", "head-only"),
        "dependence: blank image": ("all-trained", "blank-image"),
        "dependence: blank instruction": ("all-trained", "blank-instruction"),
    }
    image = found["dependence: blank image"].difference
    assert image is not None
    assert image.value == pytest.approx(success(study, "all-trained") - success(study, "blank-image"))


def test_a_planted_bottleneck_is_named_with_its_conditions(table):
    assert table.bottleneck == "vision" and not table.screening
    assert row(table, "vision").verdict == "bottleneck"
    assert row(table, "language").verdict.startswith("below vision")
    for words in ("Vision is the bottleneck", "backbone embedded", "head chunk-mlp", "on tabletop"):
        assert words in table.verdict
    assert "Relief ranks it first too" in table.verdict
    assert "Injection moves it" in table.verdict


def test_arms_are_known_by_their_facts_and_not_by_their_names(study, table):
    renamed = replace(
        study,
        arms=tuple(replace(one, name=f"arm-{index}") for index, one in enumerate(reversed(study.arms))),
        contrasts=(),
    )
    assert bottleneck(renamed).slots == table.slots
    assert bottleneck(renamed).verdict == table.verdict


@pytest.mark.parametrize(
    ("slots", "role"),
    [
        (facts(), Role(Part.TRAINED)),
        (facts(head=SlotFact("run:0123456789ab", "full")), Role(Part.TRAINED)),
        (facts(language=pretrained("frozen")), Role(Part.FROZEN, "language")),
        (facts(head=random("frozen")), Role(Part.FROZEN, "head")),
        (facts(vision=random("frozen")), Role(Part.RANDOM_FROZEN, "vision")),
        (facts(projector=random("full")), Role(Part.RANDOM_TRAINED, "projector")),
        (facts(vision=injected("frozen")), Role(Part.INJECTED_FROZEN, "vision")),
        (facts(vision=injected("full")), Role(Part.INJECTED_TRAINED, "vision")),
        (dict.fromkeys(facts(), random("full")), Role(Part.SCRATCH)),
        (only("head"), Role(Part.HEAD_ONLY)),
        (only("embeddings", "head"), Role(Part.WITH_HEAD, "embeddings")),
        (facts(vision=pretrained("part")), None),
        (facts(vision=pretrained("frozen"), language=pretrained("frozen")), None),
        ({}, None),
    ],
)
def test_each_set_of_facts_has_one_role(slots, role):
    assert role_of(arm("any", slots, {})) == role


def test_an_arm_that_differs_in_what_no_ledger_says_has_no_role():
    assert role_of(arm("any", facts(), {}, replaced=True)) is None
    assert role_of(arm("any", facts(), {}, otherwise=("steps 600",))) is None
    assert role_of(arm("any", facts(vision=pretrained("frozen")), {}, inputs=BLANK)) is None


def test_other_inputs_are_a_role_of_the_trained_model():
    assert role_of(arm("any", facts(), {}, inputs=BLANK)) == Role(Part.AT_TEST, "blank image")
    assert role_of(arm("any", facts(), {}, inputs=BLANK, retrained=True)) == Role(Part.RETRAINED, "blank image")
    both = Inputs(image="noise", instruction="blank")
    assert role_of(arm("any", facts(), {}, inputs=both)) == Role(Part.AT_TEST, "noise image, blank instruction")


def test_the_expert_and_what_was_retrained_stand_in_rows_of_their_own(study):
    trained = next(one for one in study.arms if one.name == "all-trained")
    perfect = {seed: np.ones_like(won) for seed, won in trained.outcomes.items()}
    more = (
        arm("expert", {}, perfect, reference="expert"),
        arm("blind", facts(), trained.outcomes, inputs=BLANK, retrained=True),
    )
    found = {row.name: row for row in bottleneck(replace(study, arms=(*study.arms, *more))).whole}
    over = found["what the expert has over it"].difference
    assert over is not None and over.value == pytest.approx(1 - success(study, "all-trained"))
    needed = found["necessity: blank image"].difference
    assert needed is not None and needed.value == 0.0


def test_facts_are_described_by_what_differs():
    assert described(arm("any", facts(), {})) == "all trained"
    assert described(arm("any", facts(vision=injected("frozen")), {})) == "vision injected frozen"
    assert described(arm("any", only("language", "head"), {})) == "all but language+head frozen"
    assert described(arm("any", dict.fromkeys(facts(), random("full")), {})) == "all random"
    assert described(arm("any", facts(), {}, inputs=BLANK)) == "blank image at test"
    assert described(arm("any", facts(), {}, otherwise=("steps 600",))) == "steps 600"
    assert described(arm("any", {}, {}, reference="expert")) == "the expert plays"
    assert described(arm("any", {}, {})) == "no ledger yet"


def test_two_arms_with_one_role_are_noted_and_the_first_is_used(study, table):
    twin = next(one for one in study.arms if one.name == "freeze-vision")
    never = {seed: np.zeros_like(outcomes) for seed, outcomes in twin.outcomes.items()}
    doubled = bottleneck(replace(study, arms=(*study.arms, replace(twin, name="twin", outcomes=never))))
    assert doubled.slots == table.slots
    assert "'freeze-vision' and 'twin' are both 'vision frozen'; the slots' rows use the first." in doubled.notes


def test_the_specific_gain_is_over_the_best_negative_control(study):
    sham, worse = (
        facts(vision=injected("frozen", name, run=12 * digit))
        for digit, name in (("a", "masked-image"), ("b", "permuted-actions"))
    )
    frozen = next(one for one in study.arms if one.name == "freeze-vision").outcomes
    never = {seed: np.zeros_like(won) for seed, won in frozen.items()}
    against = (arm("sham", sham, frozen), arm("worse", worse, never))
    found = row(bottleneck(replace(study, arms=(*study.arms, *against))), "vision")
    assert found.specific_gain is not None and found.injection_gain == row(bottleneck(study), "vision").injection_gain
    assert found.specific_gain.value == pytest.approx(
        success(study, "injected-frozen") - success(study, "freeze-vision")
    )
    assert row(bottleneck(study), "vision").specific_gain is None


def test_a_column_whose_arm_is_missing_is_null(study):
    lacking = bottleneck(without(study, "injected-frozen", "head-only", "blank-image", "freeze-projector"))
    vision = row(lacking, "vision")
    assert vision.injection_gain is None and vision.recovery is None and vision.relief is None
    assert vision.freeze_cost is not None
    assert row(lacking, "projector").freeze_cost is None
    assert row(lacking, "projector").verdict == "not measured"
    assert "dependence: blank image" not in {one.name for one in lacking.whole}
    assert "Not compared, since no arm that freezes it was played: projector." in lacking.verdict
    assert "No injection into vision was played frozen." in lacking.verdict
    assert "Relief was not measured" in lacking.verdict


def test_what_was_not_declared_is_exploratory_and_adjusted_for_false_discoveries(study, table):
    asked = {frozenset((b, a)) for _, a, b in study.contrasts}
    others = {one.name for one in study.arms} - {"all-trained"}
    assert {one.b for one in table.exploratory} == others - {b for pair in asked if "all-trained" in pair for b in pair}
    assert all(one.a == "all-trained" for one in table.exploratory)
    adjusted = benjamini_hochberg([one.p for one in table.exploratory])
    assert [one.p_adjusted for one in table.exploratory] == pytest.approx(adjusted)


def test_a_difference_that_is_shown_to_be_small_is_said_to_be_equivalent(study):
    trained = next(one for one in study.arms if one.name == "all-trained")
    twin = replace(trained, name="twin")
    found = bottleneck(replace(study, arms=(trained, twin), contrasts=(("same", "all-trained", "twin"),)))
    assert found.contrasts[0].equivalent is True
    assert all(one.equivalent is False for one in bottleneck(study).contrasts)


def test_the_inputs_shares_add_up_to_what_both_carry(study, table):
    assert table.shares == ()
    never = {seed: np.zeros(100, bool) for seed in range(5)}
    blind = arm("both-blank", facts(), never, inputs=Inputs(image="blank", instruction="blank"))
    shares = {one.name: one.share for one in bottleneck(replace(study, arms=(*study.arms, blind))).shares}
    image, instruction = shares["image"], shares["instruction"]
    assert image is not None and instruction is not None and image.value > instruction.value > 0
    assert image.value + instruction.value == pytest.approx(success(study, "all-trained"))


def test_without_the_trained_arm_nothing_can_be_decided(study):
    blind = bottleneck(without(study, "all-trained"))
    assert blind.bottleneck is None
    assert blind.verdict.startswith("Undetermined") and "no freeze cost can be computed" in blind.verdict


def test_a_study_that_freezes_nothing_says_which_of_its_contrasts_hold(study):
    trained = next(one for one in study.arms if one.name == "all-trained")
    blind = next(one for one in study.arms if one.name == "blank-image")
    asked = (("image", "all-trained", "blank-image"), ("twins", "all-trained", "twin"))
    free = replace(study, arms=(trained, blind, replace(trained, name="twin")), contrasts=asked)
    found = bottleneck(free)
    assert found.verdict.startswith("No arm freezes a slot with backbone")
    shown = f"Of 2 declared contrasts 1 differs from 0 (Holm), in points: image ({points(found.contrasts[0].figure)})."
    assert found.verdict.endswith(shown)
    none = bottleneck(replace(free, contrasts=asked[1:])).verdict
    assert none.endswith("Of 1 declared contrast none is shown to differ from 0 (Holm).")
    assert bottleneck(replace(free, contrasts=())).verdict.endswith("a bottleneck is not looked for.")
    assert not found.slots and not any(section.title.startswith("Slots") for section in sections(found))
    unknown = replace(trained, name="not-yet", slots={}, outcomes={}, missing=(0,))
    waiting = bottleneck(replace(free, arms=(*free.arms, unknown)))
    assert waiting.slots and waiting.verdict.startswith("Undetermined"), "it may be one that freezes a slot"
    assert [row.name for section in sections(found) for row in section.rows if section.title == "The whole model"] == [
        "dependence: blank image"
    ]


def test_a_slot_that_alone_was_frozen_is_no_bottleneck(study):
    alone = bottleneck(without(study, "freeze-projector", "freeze-embeddings", "freeze-language"))
    assert alone.bottleneck is None
    assert row(alone, "vision").verdict == "above 0, not above all"
    assert "no other slot was frozen to compare it with" in alone.verdict


def test_a_failed_arm_is_failed_and_not_zero(study):
    failed = changed(study, "freeze-vision", outcomes={}, failed={0: "loss is NaN at step 3", 1: "loss is NaN"})
    found = bottleneck(failed)
    broken = next(one for one in found.arms if one.name == "freeze-vision")
    assert broken.success is None and broken.ci95 is None and broken.seeds == 0
    assert broken.failed == {0: "loss is NaN at step 3", 1: "loss is NaN"}
    assert row(found, "vision").freeze_cost is None
    declared = found.contrasts[0]
    assert (declared.difference, declared.p, declared.p_adjusted, declared.mde) == (None, None, None, None)
    assert found.contrasts[1].p is None


def test_seeds_that_failed_or_are_missing_leave_the_others(study):
    whole = next(one for one in study.arms if one.name == "freeze-vision")
    kept = {seed: whole.outcomes[seed] for seed in (0, 3, 4)}
    found = bottleneck(changed(study, "freeze-vision", outcomes=kept, failed={1: "loss is NaN"}, missing=(2,)))
    vision = row(found, "vision")
    assert vision.seeds == 3 and not vision.screening
    assert next(one for one in found.arms if one.name == "freeze-vision").missing == (2,)


def test_one_thin_cell_makes_the_verdict_screening(study):
    whole = next(one for one in study.arms if one.name == "freeze-language")
    found = bottleneck(changed(study, "freeze-language", outcomes={0: whole.outcomes[0]}))
    assert found.screening
    assert found.verdict.startswith(
        "Screening, not a claim (fewer than 3 training seeds behind the freeze cost of lang"
    )
    assert row(found, "language").verdict.startswith("screening: ")
    assert not row(found, "vision").screening


def test_a_frozen_head_gets_a_row_and_no_part_in_the_verdict(study, table):
    never = {seed: np.zeros(100, dtype=bool) for seed in range(5)}
    found = bottleneck(replace(study, arms=(*study.arms, arm("freeze-head", facts(head=random("frozen")), never))))
    assert found.verdict == table.verdict
    assert row(found, "head").freeze_cost is not None
    assert row(found, "head").verdict == "not compared: its weights are new"
    assert [one.slot for one in table.slots] == list(SLOTS_FROZEN)


def test_declared_contrasts_are_holm_adjusted_and_carry_mcnemar(table):
    for one in table.contrasts:
        assert one.p is not None and one.p_adjusted is not None and one.difference is not None and one.ci95 is not None
        assert one.p <= one.p_adjusted <= 2 * one.p
        assert one.ci95[0] < one.difference < one.ci95[1]
        assert sorted(one.mcnemar) == [0, 1, 2, 3, 4]


def test_a_contrast_of_an_unknown_arm_is_refused(study):
    with pytest.raises(UserError, match="No arm named 'freeze-visoin'. Did you mean 'freeze-vision'"):
        bottleneck(replace(study, contrasts=(("cost", "all-trained", "freeze-visoin"),)))


def test_outcomes_of_another_manifest_are_refused(study):
    short = {0: np.ones(99, dtype=bool)}
    with pytest.raises(UserError, match="'freeze-vision', seed 0, holds 99 outcomes"):
        changed(study, "freeze-vision", outcomes=short)
    with pytest.raises(UserError, match="won or lost"):
        changed(study, "freeze-vision", outcomes={0: np.ones(100)})


def test_success_is_given_by_seed_and_by_task(study, table):
    first = table.arms[0]
    outcomes = study.arms[0].outcomes
    assert first.by_seed == pytest.approx({seed: outcomes[seed].mean() for seed in outcomes})
    assert first.by_task["reach"] == pytest.approx(np.mean([outcomes[seed][0::2] for seed in outcomes]))


def frozen_studies(generator: np.random.Generator, logits: dict[str, float], repetitions: int):
    """Freeze costs and frozen outcomes of many studies of 5 seeds and 100 episodes; all trained has logit 1.5."""
    for _ in range(repetitions):
        draw = Draw(generator, episodes=100)
        trained = draw.outcomes(1.5, range(5))
        frozen = {slot: draw.outcomes(logits.get(slot, 1.5), range(5)) for slot in SLOTS_FROZEN}
        costs = {slot: contrast(trained, outcomes) for slot, outcomes in frozen.items()}
        yield {slot: cost for slot, cost in costs.items() if cost is not None}, frozen


@pytest.mark.parametrize("logits", [{}, {"vision": 0.0, "language": 0.0}], ids=["nothing planted", "two equal costs"])
def test_where_no_slot_is_the_bottleneck_one_is_named_in_fewer_than_five_studies_of_a_hundred(logits):
    studies = frozen_studies(np.random.default_rng(1), logits, repetitions=150)
    assert np.mean([decide(costs, frozen).slot is not None for costs, frozen in studies]) <= 0.05


def test_a_planted_cost_of_twenty_five_points_is_usually_named():
    studies = frozen_studies(np.random.default_rng(2), {"vision": 0.2}, repetitions=60)
    named = [decide(costs, frozen).slot for costs, frozen in studies]
    assert named.count("vision") >= 45
    assert set(named) <= {"vision", None}


def test_a_study_without_outcomes_has_a_table_all_the_same():
    broken = arm("freeze-vision", {}, {}, trainable_parameters=None, seconds=None, failed={0: "loss is NaN"})
    empty = bottleneck(record([arm("all-trained", {}, {}, missing=(0, 1)), broken]))
    assert all(one.success is None for one in empty.arms)
    assert all(one.freeze_cost is None for one in empty.slots)
    assert empty.bottleneck is None
