"""Arms that are more than edits: references, other inputs, other budgets, a choice of learning rates."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ablations.arms import Arm
from ablations.gather import _chosen, _otherwise
from ablations.runs import arm_runs, wanted
from ablations.study import Study
from ablations.study_file import read_study
from workbench.plan import Evaluate, Finetune, Inputs, Replay
from workbench.record import Record

SMOKE = read_study("smoke")


def with_arm(**arm: Any) -> Study:
    arms = (Arm.model_validate({"name": "one", **arm}),)
    return SMOKE.model_copy(update={"arms": arms, "contrasts": (), "injections": {}})


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"reference": "expert", "retrained": True}, "retrained says nothing of the expert"),
        ({"retrained": True}, "inputs change nothing"),
        ({"learning_rates": [1e-3]}, "two or more different ones"),
        ({"learning_rates": [1e-3, 1e-3]}, "two or more different ones"),
        ({"learning_rates": [1e-3, 1e-4], "budget": {"learning_rate": 1e-3}}, "exclude each other"),
        ({"inputs": {"image": "noise"}, "retrained": True}, "not trained on noise"),
    ],
)
def test_an_arm_that_means_nothing_is_refused(arm: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        with_arm(**arm)


def test_a_wrong_field_of_an_arms_budget_is_named():
    content = SMOKE.model_dump(mode="json") | {"contrasts": ()}
    content["arms"] = [{"name": "one", "budget": {"stesp": 3}}]
    with pytest.raises(ValidationError, match=r"arm 'one': budget.stesp: No key named 'stesp'. Did you mean 'steps'"):
        Study.model_validate(content)


def test_selection_episodes_may_not_be_those_of_the_demonstrations():
    content = SMOKE.model_dump(mode="json")
    content["data"]["split"] = "selection"
    with pytest.raises(ValidationError, match="the choice of a learning rate and data both use the 'selection'"):
        Study.model_validate(content)


def test_another_budget_is_that_of_the_arm_alone():
    (run,) = arm_runs(with_arm(budget={"steps": 9}), with_arm(budget={"steps": 9}).arms[0])
    assert isinstance(run.plan, Finetune)
    assert run.plan.budget == SMOKE.budget.model_copy(update={"steps": 9})


def test_an_arm_that_is_retrained_is_one_training_with_its_inputs():
    study = with_arm(inputs={"image": "blank"}, retrained=True)
    (run,) = wanted(study)
    assert isinstance(run.plan, Finetune) and run.plan.inputs == Inputs(image="blank")


def test_with_as_many_operations_an_arm_whose_steps_are_cheaper_makes_more_of_them():
    study = SMOKE.model_copy(update={"matched": "operations"})
    steps = {run.arm: run.plan.budget.steps for run in wanted(study) if isinstance(run.plan, Finetune)}
    usual = {run.arm: run.plan.budget.steps for run in wanted(SMOKE) if isinstance(run.plan, Finetune)}
    assert steps["all-trained"] == usual["all-trained"] == steps["slow-language"]
    assert steps["freeze-vision"] > usual["freeze-vision"]
    assert steps["longer"] == usual["longer"], "an arm that says its own steps keeps them"


def test_more_steps_for_as_many_operations_do_not_make_an_arm_another_one():
    study = SMOKE.model_copy(update={"matched": "operations"})
    arms = {arm.name: arm for arm in study.arms}
    assert _otherwise(study, arms["freeze-vision"]) == ()
    assert _otherwise(study, arms["longer"]) == ("steps 9",)
    assert _otherwise(study, arms["slow-language"]) == ("language at 0.1 × the learning rate",)


def test_the_expert_is_one_run_without_a_seed():
    (run,) = wanted(with_arm(reference="expert"))
    assert run.plan == Replay(protocol=SMOKE.protocol)


def test_each_learning_rate_is_trained_and_plays_other_episodes_to_be_chosen_by():
    study = with_arm(learning_rates=[1e-3, 1e-4], seeds=[0, 1])
    runs = wanted(study)
    trained = [run for run in runs if isinstance(run.plan, Finetune)]
    chooses = [run for run in runs if run.chooses]
    assert sorted((run.plan.budget.learning_rate, run.seed) for run in trained if isinstance(run.plan, Finetune)) == [
        (1e-4, 0), (1e-4, 1), (1e-3, 0), (1e-3, 1),
    ]  # fmt: skip
    assert {run.plan.of for run in chooses if isinstance(run.plan, Evaluate)} == {run.id for run in trained}
    own, chosen = set(study.protocol.manifest()), set(study.selection.manifest())
    assert len(own) == len(chosen) and not own & chosen


def test_the_learning_rate_with_the_most_success_on_the_selection_episodes_is_reported(tmp_path):
    study = with_arm(learning_rates=[1e-3, 1e-4, 1e-5], seeds=[0, 1])
    success = {1e-3: (0.9, 0.1), 1e-4: (0.6, 0.7), 1e-5: (0.0, 0.0)}
    records = {
        run.id: Record(run.id, tmp_path, run.plan, {"success": success[run.rate][run.seed] if run.chooses else np.nan})
        for run in wanted(study)
        if run.rate is not None
    }
    best = _chosen(study, study.arms[0], records)
    assert [(run.rate, run.seed, run.chooses) for run in best] == [(1e-4, 0, False), (1e-4, 1, False)]
    missing = next(run for run in wanted(study) if run.chooses)
    assert _chosen(study, study.arms[0], {id: r for id, r in records.items() if id != missing.id}) == []
    failed = replace(records[missing.id], result={"error": "NaN"})
    assert _chosen(study, study.arms[0], records | {missing.id: failed}) == []
