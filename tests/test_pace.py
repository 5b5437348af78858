"""Arms whose trainings take equally long: what is timed, the steps that come of it, what was reached."""

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from commands import refusal, say
from conftest import SmallRun

from ablations.gather import gather
from ablations.pace import paces, trainings
from ablations.runs import wanted
from ablations.screens.pace import as_toml
from ablations.study import Study
from ablations.study_file import read_study
from workbench.errors import UserError
from workbench.execute import execute
from workbench.plan import Finetune
from workbench.record import find
from workbench.training.timed import step_seconds

SMOKE = read_study("smoke")


def frozen(name: str = "freeze-vision", **more: Any) -> dict[str, Any]:
    return {"name": name, "edits": [{"edit": "tune", "slot": "vision", "tune": {"kind": "frozen"}}], **more}


def study(*arms: dict[str, Any], **more: Any) -> Study:
    content = SMOKE.model_dump(mode="json") | {"contrasts": (), "injections": {}, "matched": "seconds"}
    return Study.model_validate(content | {"arms": [{"name": "all-trained"}, *arms]} | more)


def steps(asked: Study) -> dict[str, int]:
    return {arm.name: asked.budget_of(arm).steps for arm in asked.arms}


def test_a_cheaper_step_is_made_more_often():
    asked = study(
        frozen(),
        {"name": "half", "budget": {"batch": 8}},
        frozen("own-steps", budget={"steps": 9}),
        {"name": "blank", "inputs": {"image": "blank"}},
        {"name": "expert", "reference": "expert"},
        step_seconds={"base": 0.3, "freeze-vision": 0.2, "half": 0.1},
    )
    assert steps(asked) == {"all-trained": 6, "freeze-vision": 9, "half": 18, "own-steps": 9, "blank": 6, "expert": 6}
    alike = study(frozen(), matched="steps", step_seconds={})
    assert [run.id for run in wanted(alike)][0] == [run.id for run in wanted(asked)][0], "the base is the same run"


def test_what_is_timed_is_the_base_and_each_arm_whose_steps_are_others():
    again = {"name": "shuffled", "edits": [{"edit": "reinit", "slot": "vision", "weights": "shuffled"}]}
    asked = study(
        frozen(),
        frozen("same-form", inputs={"image": "blank"}),
        frozen("own-steps", budget={"steps": 9}),
        again,
        {"name": "expert", "reference": "expert"},
    )
    plans = trainings(asked, 3)
    assert list(plans) == ["base", "freeze-vision", "same-form"]
    assert {plan.budget.steps for plan in plans.values()} == {3}
    times = {"full": [1.0, 3.0], "frozen": [0.5, 0.7]}
    measured = list[str]()

    def measure(plan: Finetune) -> list[float]:
        measured.append(plan.spec.vision.tune.kind)
        return [100.0, 100.0] if len(measured) <= 2 else times[plan.spec.vision.tune.kind]

    assert paces(plans, 2, measure) == {"base": 2.0, "freeze-vision": 0.6, "same-form": 0.6}
    assert measured == ["frozen", "full", "full", "frozen", "frozen", "full"], "in turn, what is alike once"


def test_a_training_is_timed_and_leaves_no_record(small_run: SmallRun, tmp_path: Path):
    root = Path(shutil.copytree(small_run.root, tmp_path / "runs"))
    before = {path.name for path in root.iterdir()}
    plan = trainings(study(frozen(), data=small_run.plan.data.model_dump()), 3)["freeze-vision"]
    seconds = step_seconds(plan, root)
    assert len(seconds) == 2 and all(0 < one < 30 for one in seconds)
    assert {path.name for path in root.iterdir()} - before <= {"features"}


def test_what_pace_prints_makes_the_study_whole(tmp_path: Path):
    text = (Path(__file__).parent.parent / "configs" / "smoke.toml").read_text().split("[injections")[0]
    text += '[[arms]]\nname = "all-trained"\n[[arms]]\nname = "freeze-vision"\n'
    text += 'edits = [{ edit = "tune", slot = "vision", tune = { kind = "frozen" } }]\n'
    (tmp_path / "s.toml").write_text(text)
    said = say("pace", str(tmp_path / "s.toml"), "--root", str(tmp_path), "--steps", "3", "--rounds", "1")
    assert said.code == 0 and "freeze-vision" in said.out and "steps in its time" in said.out
    lines = said.out[said.out.index("matched = ") :]
    assert list(tomllib.loads(lines)["step_seconds"]) == ["base", "freeze-vision"]
    (tmp_path / "s.toml").write_text(lines + text)
    planned = say("plan", str(tmp_path / "s.toml"), "--root", str(tmp_path), "--format", "json")
    assert len(json.loads(planned.out)["runs"]) == 2


def test_names_of_arms_and_small_figures_are_written_as_they_are_read():
    seconds = {"base": 1.234e-05, "freeze-vision": 2.0}
    assert tomllib.loads(as_toml(seconds)) == {"matched": "seconds", "step_seconds": seconds}


def test_seconds_that_were_not_measured_are_asked_for(tmp_path: Path):
    with pytest.raises(UserError, match=r"step_seconds has no 'freeze-vision'.*workbench pace"):
        wanted(study(frozen(), step_seconds={"base": 0.3}))
    assert "has no 'base'" in refusal("plan", "smoke", "--set", "matched=seconds", "--root", str(tmp_path))


@pytest.mark.parametrize(
    ("arms", "more", "says"),
    [
        ([], {"step_seconds": {"freeze-vison": 1.0}}, "No arm named 'freeze-vison'"),
        ([frozen()], {"step_seconds": {"base": 0.0}}, "greater than 0"),
        ([], {"step_seconds": {"base": 1.0}, "matched": "steps"}, "of use with matched = 'seconds' only"),
        ([frozen("base")], {}, "the arm 'base' is not the base"),
    ],
)
def test_seconds_of_nothing_are_refused(arms: list[dict[str, Any]], more: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=says):
        study(*arms, **more)


def test_an_arm_beside_a_study_has_the_seconds_that_the_study_gives_it():
    asked = study(frozen(), step_seconds={"base": 0.3, "freeze-vision": 0.2})
    beside = asked.sibling(name="beside", question="?", arms=asked.arms[1:])
    assert steps(beside) == {"freeze-vision": 9} and beside.step_seconds == asked.step_seconds
    alone = asked.sibling(name="alone", question="?", arms=asked.arms[:1])
    assert alone.step_seconds == {"base": 0.3}


def test_the_table_says_what_trainings_took(small_run: SmallRun, tmp_path: Path):
    root = Path(shutil.copytree(small_run.root, tmp_path / "runs"))
    longer = {"name": "longer", "budget": {"steps": 20}}
    asked = study(frozen(), longer, step_seconds={"base": 0.3, "freeze-vision": 0.2})
    assert "as many seconds for every arm" in gather(asked, root).budget
    assert gather(asked, root).notes == ()
    for run in wanted(asked):
        if find(root, run.plan) is None:
            execute(run.plan, root)
    (note,) = [note for note in gather(asked, root).notes if "equally long" in note]
    assert "'all-trained'" in note and "'freeze-vision'" in note and "longer" not in note
