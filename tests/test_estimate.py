"""What a study would cost: parameters and bytes as they turn out, operations that can be compared, time by them."""

import json
from pathlib import Path

import pytest
from commands import say
from conftest import SmallRun

from ablations.beside import TRAINED, beside, frozen, inputs_with, masked
from ablations.estimate import OTHER_BYTES, estimates
from ablations.runs import wanted
from workbench.actions import Actions
from workbench.count import Cost, training_cost
from workbench.edits import SetTune, edited
from workbench.recipes import Expert
from workbench.spec import Frozen, LastBlocks, Spec
from workbench.weights import WEIGHTS

HEADER = 20_000
"""Bytes with which a safetensors file begins: names, shapes, places."""


def cost(*edits: SetTune, batch: int = 16) -> Cost:
    return training_cost(edited(Spec(), edits), chunk=4, batch=batch, actions=Actions())


def test_parameters_and_bytes_are_those_of_the_run(small_run: SmallRun):
    budget = small_run.plan.budget
    found = training_cost(small_run.plan.spec, chunk=budget.chunk, batch=budget.batch, actions=Actions())
    assert found.trainable == sum(row["trainable"] for row in small_run.record.ledger()["rows"])
    assert 0 <= (small_run.record.folder / WEIGHTS).stat().st_size - found.weights_bytes < HEADER


def test_operations_grow_with_the_batch_and_shrink_with_what_is_frozen():
    whole, twice = cost(), cost(batch=32)
    assert twice.step_flops == 2 * whole.step_flops
    last = cost(SetTune(slot="vision", tune=LastBlocks(blocks=1)))
    first = cost(SetTune(slot="vision", tune=Frozen()))
    assert first.step_flops < last.step_flops < whole.step_flops
    assert first.weights_bytes == whole.weights_bytes and first.trainable < last.trainable < whole.trainable


def test_a_missing_run_takes_as_long_as_recorded_ones_by_its_operations(small_run: SmallRun):
    pair = beside(small_run.study, frozen(["vision"]), TRAINED, seeds=(0, 1))
    rows = {(row.run.arm, row.run.seed): row for row in estimates(wanted(pair), small_run.root)}
    known, result = rows["all-trained", 0], small_run.record.result
    assert known.recorded and [row.recorded for row in rows.values()].count(True) == 1
    assert known.seconds == pytest.approx(result["training_seconds"] + result["playing_seconds"])
    missing = rows["freeze-vision", 1]
    assert known.flops and missing.flops and missing.seconds
    spent = result["training_seconds"] * missing.flops / known.flops
    assert missing.seconds == pytest.approx(spent + result["playing_seconds"])
    assert missing.flops == pair.budget.steps * cost(SetTune(slot="vision", tune=Frozen())).step_flops


def test_a_play_trains_nothing_and_stores_no_weights(small_run: SmallRun):
    pair = beside(small_run.study, masked(inputs_with("image", "blank"), retrained=False), TRAINED, seeds=(0,))
    play = estimates(wanted(pair), small_run.root)[-1]
    assert (play.trainable, play.flops, play.disk_bytes) == (0, None, OTHER_BYTES)
    assert play.seconds == small_run.record.result["playing_seconds"]


def test_time_is_unknown_where_nothing_is_recorded(small_run: SmallRun, tmp_path: Path):
    pair = beside(small_run.study, frozen(["vision"]), TRAINED, seeds=(0,))
    assert [row.seconds for row in estimates(wanted(pair), tmp_path)] == [None, None]


def test_a_dry_run_says_it_and_does_nothing(small_run: SmallRun, tmp_path: Path):
    root = tmp_path / "runs"
    words = ("freeze", "vision", "--study", "smoke", "--dry-run", "--root")
    told = json.loads(say(*words, str(root), "--format", "json").out)
    assert isinstance(small_run.plan.data, Expert) and told["demonstrations"] == small_run.plan.data.episodes
    assert [(run["arm"], run["recorded"], run["seconds"]) for run in told["runs"]] == [
        ("all-trained", False, None),
        ("freeze-vision", False, None),
    ]
    assert not root.exists()
    people = say(*words, str(root)).out
    assert "2 of 2 runs are missing" in people and "12 demonstrations, which are to be collected" in people


def test_a_dry_run_of_what_is_recorded_has_nothing_to_list(small_run: SmallRun):
    changes = ("--set", "arms=[{name='all-trained'}]", "--set", "contrasts=[]", "--set", "injections={}")
    said = say("run", "smoke", "--dry-run", "--root", str(small_run.root), *changes)
    assert said.code == 0 and "all 1 runs are recorded" in said.out and "nothing is missing" in said.out


def test_a_plan_counts_operations_on_request(small_run: SmallRun):
    """What whole trainings compute, and the memory of one; what a plan says without it stays as it is."""
    changes = ["arms=[{name='all-trained'}, {name='blind', inputs={image='blank'}}]", "contrasts=[]", "injections={}"]
    words = ["plan", "smoke", "--format", "json", *(word for change in changes for word in ("--set", change))]
    plain, counted = (json.loads(say(*words, *more).out)["runs"] for more in ((), ("--flops",)))
    names = ("required_flops", "executed_flops", "waste", "training_peak_bytes", "training_bytes_of")
    assert [{key: row[key] for key in row if key not in names} for row in counted] == plain
    trained, play = counted
    budget = small_run.plan.budget
    step = training_cost(small_run.plan.spec, chunk=budget.chunk, batch=budget.batch, actions=Actions()).step_flops
    assert trained["required_flops"] == budget.steps * step <= trained["executed_flops"]
    assert trained["waste"] == trained["executed_flops"] / trained["required_flops"] < 1.02
    assert trained["training_peak_bytes"] == sum(trained["training_bytes_of"].values())
    assert {play[name] for name in names} == {None}


def test_a_plan_sums_operations_of_the_study_for_people():
    changes = ("seeds=[0, 1]", "arms=[{name='all-trained'}]", "contrasts=[]", "injections={}")
    said = say("plan", "smoke", "--flops", *(word for change in changes for word in ("--set", change))).out
    table = said[said.index("operations and memory of training") :]
    words = ("all-trained", "all of it", "required TFLOP", "waste", "memory MB")
    assert [word for word in words if word not in table] == []
