"""A study as a file: extended, changed from the command line, read."""

from pathlib import Path

import pytest

from ablations.study_file import CONFIGS, read_study
from workbench.benchmarks.contract import Protocol
from workbench.errors import UserError
from workbench.recipes import Folder

BASE = (CONFIGS / "smoke.toml").read_text()


def write(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.toml").write_text(text)
    return str(folder / f"{name}.toml")


def test_a_study_adds_to_the_one_that_it_extends_and_replaces_namesakes(tmp_path: Path):
    file = write(
        tmp_path,
        "mine",
        """
        name = "mine"
        extends = "smoke"
        budget = { steps = 7 }
        [[arms]]
        name = "longer"
        budget = { steps = 70 }
        [[arms]]
        name = "head-alone"
        edits = [{ edit = "tune", slot = "language", tune = { kind = "frozen" } }]
        """,
    )
    mine, smoke = read_study(file), read_study("smoke")
    assert (mine.name, mine.question, mine.budget) == (
        "mine", smoke.question, smoke.budget.model_copy(update={"steps": 7}),
    )  # fmt: skip
    assert {arm.name for arm in mine.arms} == {arm.name for arm in smoke.arms} | {"head-alone"}
    assert {arm.name: arm.budget for arm in mine.arms}["longer"] == {"steps": 70}
    assert mine.contrasts == smoke.contrasts


def test_a_study_beside_the_file_is_found_before_a_ready_made_one(tmp_path: Path):
    write(tmp_path, "parent", BASE)
    child = write(tmp_path, "child", 'extends = "parent.toml"\nname = "child"\n')
    assert read_study(child).name == "child"


def test_studies_that_extend_each_other_are_refused(tmp_path: Path):
    write(tmp_path, "one", 'extends = "two.toml"')
    with pytest.raises(UserError, match="extends 'two.toml', which extends this study in turn"):
        read_study(write(tmp_path, "two", 'extends = "one.toml"'))


def test_fields_are_changed_from_the_command_line():
    changes = [
        "budget.steps=20",
        "seeds=[3, 4]",
        "arms.freeze-vision.seeds=[1]",
        'question="Why?"',
        "compute.device=cpu",
    ]
    study = read_study("smoke", changes)
    assert (study.budget.steps, study.seeds, study.question) == (20, (3, 4), "Why?")
    assert {arm.name: arm.seeds for arm in study.arms}["freeze-vision"] == (1,) and study.compute.device == "cpu"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("budget.steps", "is no change: write path=value"),
        ("budget.stesp=3", "budget.stesp: No key named 'stesp'. Did you mean 'steps'"),
        ("budget.steps=many", "budget.steps: .*integer.*got 'many'"),
        ("arms.freeze-visoin.seeds=[1]", "No member named 'freeze-visoin'. Did you mean 'freeze-vision'"),
        ("budget.steps.more=1", "budget.steps has no fields of its own"),
        ("name.first.second=1", "name.first: there are no fields below it"),
        ("arms.freeze-vision.edits.0.slot=language", "what is listed there has no names to choose by"),
    ],
)
def test_a_wrong_change_is_one_plain_sentence(change: str, message: str):
    with pytest.raises(UserError, match=message):
        read_study("smoke", [change])


def test_other_data_or_another_benchmark_replace_those_of_the_study_that_is_extended(tmp_path: Path):
    """Their fields mean other things: a folder has no `episodes`, another benchmark other tasks."""
    study = read_study("vlm4vla-bridge", planning=True)
    assert study.data == Folder(path="data/bridge")
    assert study.protocol == Protocol(benchmark="simpler-bridge") and study.budget.chunk == 4
    assert study.budget.learning_rate == 2e-5 and study.base.backbone.startswith("Qwen/")
    assert {arm.name for arm in study.arms} == {arm.name for arm in read_study("modality").arms}


def test_data_that_is_not_here_can_be_planned_with_and_not_run(tmp_path: Path):
    assert isinstance(data := read_study("vlm4vla-libero", planning=True).data, Folder) and not data.digest
    with pytest.raises(UserError, match="There is nothing at data/libero_10"):
        read_study("vlm4vla-libero")
