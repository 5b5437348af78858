"""Proprioception in a study: what may be said of it, whose runs stay whose, and what a table says of each input."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted import arm, facts, full_study
from pydantic import ValidationError
from test_beside import appended, ids, pair_of

from ablations.beside import as_toml, without
from ablations.bottleneck import StudyRecord, bottleneck
from ablations.gather import gather
from ablations.roles import Part, Role, described, role_of
from ablations.runs import injection_plan, wanted
from ablations.study import Study
from ablations.study_file import read_study
from workbench.benchmarks.rules import rules_of
from workbench.data.contract import Episode
from workbench.data.lerobot_write import write_dataset
from workbench.edits import NoProprioception, edited
from workbench.errors import UserError
from workbench.plan import Budget, Evaluate, Finetune, Inject, Inputs, run_id
from workbench.recipes import Expert
from workbench.spec import Spec

FELT = "base.proprioception=true"
ZERO, OTHER = Inputs(proprioception="zero"), Inputs(proprioception="other-episode")
BOTH = Inputs(image="blank", instruction="blank")


@pytest.fixture(scope="module")
def study() -> Study:
    return read_study("proprioception")


def test_true_is_as_many_numbers_as_the_benchmark_tells():
    assert read_study("smoke", [FELT]).base.proprioception == len(rules_of("tabletop-v1").state) == 4
    assert read_study("smoke", ["base.proprioception=false"]) == read_study("smoke")
    metaworld = read_study("metaworld", [FELT])
    assert metaworld.base.proprioception == len(rules_of("metaworld-mt10").state)


def test_a_policy_without_it_has_the_id_that_it_had_before_there_was_any(study: Study):
    plain = {run.seed: run.id for run in wanted(read_study("inputs")) if run.arm == "all-trained"}
    assert {run.seed: run.id for run in wanted(study) if run.arm == "no-proprioception"} == plain
    assert "proprioception" not in Spec().model_dump() and "proprioception" not in Inputs().model_dump()
    assert not {run.id for run in wanted(study) if run.arm == "all-trained"} & set(plain.values())


def test_an_encoder_is_injected_without_it_so_that_injections_are_the_same_runs():
    plain, felt = read_study("demo"), read_study("demo", [FELT])
    assert injection_plan(felt, "cloning") == injection_plan(plain, "cloning")
    assert not {run.id for run in wanted(felt) if isinstance(run.plan, Finetune)} & ids(plain)
    with pytest.raises(ValidationError, match="its policy is given no state"):
        Inject(spec=felt.base, data=Expert(tasks=("reach",), split="injection"), budget=Budget())


def test_what_is_given_in_its_place_is_in_the_id(study: Study):
    shared = {"of": "0123456789ab", "protocol": study.protocol}
    assert len({run_id(Evaluate(**shared, inputs=inputs)) for inputs in (Inputs(), ZERO, OTHER)}) == 3
    plan = wanted(study)[0].plan
    assert isinstance(plan, Finetune)
    retrained = [plan.model_copy(update={"inputs": inputs}) for inputs in (Inputs(), ZERO, OTHER)]
    assert len({run_id(one) for one in retrained}) == 3


@pytest.mark.parametrize("how", ["zero", "other-episode"])
@pytest.mark.parametrize("retrained", [False, True])
def test_a_policy_that_is_given_none_refuses_the_mask(how: str, retrained: bool):
    said = rf"arm 'proprioception-{how}.*': inputs.proprioception is '{how}', but the policy is given no state"
    with pytest.raises(ValidationError, match=said):
        pair_of(without("proprioception", how, retrained=retrained))


@pytest.mark.parametrize(
    ("width", "how", "said"), [(5, "given", "proprioception is 5"), (0, "zero", "is given no state")]
)
def test_a_plan_without_a_study_is_checked_too(study: Study, width: int, how: str, said: str):
    changed = {"spec": {"proprioception": width}, "inputs": {"proprioception": how}}
    with pytest.raises(ValidationError, match=said):
        Finetune.model_validate({**dict(wanted(study)[0].plan), **changed})


def refused(*changes: str) -> str:
    with pytest.raises(UserError) as caught:
        read_study("smoke", changes)
    return str(caught.value)


def test_what_cannot_be_is_said_when_the_study_is_read(monkeypatch: pytest.MonkeyPatch):
    numbers = "proprioception is 5, but tabletop-v1 tells 4 numbers of its robot's state (x, y, z, gripper): write true"
    assert numbers in refused("base.proprioception=5")
    assert "base.proprioception: Input should be a valid integer (got 'all')" in refused("base.proprioception=all")
    assert "No benchmark named 'tabletop'" in refused(FELT, "protocol.benchmark=tabletop")
    absent = 'arms=[{name="off", edits=[{edit="no-proprioception"}]}, {name="all"}]'
    assert "are the same model: an edit changes nothing" in refused(absent, "contrasts=[]")
    blind = rules_of("tabletop-v1").model_copy(update={"state": ()})
    monkeypatch.setattr("ablations.played.rules_of", lambda name: blind)
    assert "base.proprioception is true, but tabletop-v1 tells no state of its robot: leave it out" in refused(FELT)


def test_a_folder_with_another_state_is_refused_where_it_is_given(tmp_path: Path):
    zeros = np.zeros((3, 7), np.float32)
    episode = Episode(np.zeros((3, 64, 64, 3), np.uint8), zeros, zeros, "reach the red block")
    axes, joints = [f"action{index}" for index in range(7)], [f"joint{index}" for index in range(7)]
    write_dataset(tmp_path / "data", [episode], fps=10, robot_type="any", action_names=axes, state_names=joints)
    folder = f'data={{kind="folder", path="{tmp_path / "data"}"}}'
    said = refused(folder, FELT)
    assert "The robot's state has 7 numbers in" in said and "the benchmark tells 4" in said and "joint6" in said
    plain = read_study("smoke", [folder])
    assert plain.base.proprioception == 0


def test_one_command_masks_it_and_says_how_to_keep_the_arm(study: Study, tmp_path: Path):
    zero, absent = (without("proprioception", how, retrained=False) for how in (None, "absent"))
    assert zero.inputs == ZERO and zero.name == "proprioception-zero"
    assert absent.edits == (NoProprioception(),) and edited(study.base, absent.edits) == Spec()
    for made, runs in ((zero, ["finetune", "evaluate"]), (absent, ["finetune", "finetune"])):
        pair = pair_of(made, study=study)
        assert ids(pair) <= ids(study) and [run.plan.kind for run in wanted(pair)[:: len(study.seeds)]] == runs
        assert "[[arms]]" not in as_toml(pair, study)  # the study has it under another name
    felt = read_study("smoke", [FELT])
    pair = pair_of(absent, study=felt)
    base = "[base]\nproprioception = true\n"
    kept = appended(tmp_path, "", "smoke")
    assert kept == read_study("smoke")
    toml = as_toml(pair, felt)
    assert 'edits = [{ edit = "no-proprioception" }]' in toml
    path = tmp_path / "kept.toml"
    path.write_text((tmp_path / "smoke.toml").read_text() + toml + "\n" + base)
    assert ids(read_study(str(path))) == ids(felt) | ids(pair)


def test_a_command_names_the_choices():
    for how, said in (("blank", "Known: absent, other-episode, zero"), ("absnt", "Did you mean 'absent'")):
        with pytest.raises(UserError, match=said):
            without("proprioception", how, retrained=False)
    with pytest.raises(UserError, match="is trained so anyway"):
        without("proprioception", "absent", retrained=True)
    assert without("image", None, retrained=False).inputs == Inputs(image="blank")


@pytest.fixture(scope="module")
def played() -> StudyRecord:
    """All sets of the three inputs: success falls by what each adds, the seeds alike."""
    found = full_study(np.random.default_rng(0))
    random, kept = np.random.default_rng(1).random((5, 100)), []
    for image in (True, False):
        for words in (True, False):
            for felt in (True, False):
                share = 0.05 + 0.1 * image + 0.2 * words + 0.3 * felt + 0.2 * (image and felt)
                given = {"image": "seen" if image else "blank", "instruction": "given" if words else "blank"}
                inputs = Inputs.model_validate({**given, "proprioception": "given" if felt else "zero"})
                outcomes = {seed: random[seed] < share for seed in range(5)}
                kept.append(arm(f"{image}-{words}-{felt}", facts(), outcomes, inputs=inputs))
    return replace(found, arms=tuple(kept), contrasts=())


def test_the_shares_of_three_inputs_add_up_and_are_what_was_planted(played: StudyRecord):
    shares = {row.name: row.share for row in bottleneck(played).shares}
    assert list(shares) == ["image", "instruction", "proprioception"]
    found = {name: share.value for name, share in shares.items() if share is not None}
    full, none = (np.mean(list(played.arms[place].outcomes.values())) for place in (0, -1))
    assert sum(found.values()) == pytest.approx(full - none)
    assert found == pytest.approx({"image": 0.2, "instruction": 0.2, "proprioception": 0.4}, abs=0.04)


def test_of_two_inputs_they_are_what_they_were_and_with_a_set_missing_the_state_is_given(played: StudyRecord):
    some = tuple(one for one in played.arms if one.inputs.proprioception == "given")
    two = bottleneck(replace(played, arms=some)).shares
    assert [row.name for row in two] == ["image", "instruction"]
    assert bottleneck(replace(played, arms=played.arms[:-1])).shares == two
    felt = {row.name: row.share for row in two}["image"]
    assert felt is not None and felt.value == pytest.approx(0.3, abs=0.04)


def test_a_model_that_takes_none_is_the_necessity_of_it_and_no_second_trained_one():
    outcomes = {0: np.zeros(100, bool)}
    taken = arm("off", facts(), outcomes, absent=("proprioception",))
    assert role_of(taken) == Role(Part.RETRAINED, "no proprioception")
    assert described(taken) == "no proprioception at training and test"
    blind = replace(taken, inputs=Inputs(image="blank"))
    assert role_of(blind) is None and described(blind) == "blank image, no proprioception at test"
    assert role_of(replace(blind, retrained=True)) == Role(Part.RETRAINED, "blank image, no proprioception")
    zero = arm("zero", facts(), outcomes, inputs=ZERO)
    assert role_of(zero) == Role(Part.AT_TEST, "zero proprioception")
    told = replace(full_study(np.random.default_rng(0)), arms=(arm("on", facts(), outcomes), taken, zero), contrasts=())
    rows = {row.name for row in bottleneck(told).whole}
    assert {"necessity: no proprioception", "dependence: zero proprioception"} <= rows


def test_an_arm_that_takes_none_is_known_by_its_plan(tmp_path: Path):
    text = (
        'name = "felt"\nquestion = "?"\n[base]\nproprioception = true\n[data]\nkind = "expert"\n[budget]\nsteps = 130\n'
        '[protocol]\ntasks = ["reach", "lift"]\ninitial_states = 15\n[[arms]]\nname = "all-trained"\n'
        '[[arms]]\nname = "off"\nedits = [{ edit = "no-proprioception" }]\n'
        '[[arms]]\nname = "expert"\nreference = "expert"\n'
    )
    path = tmp_path / "felt.toml"
    path.write_text(text)
    arms = gather(read_study(str(path)), tmp_path / "none").arms
    assert {one.name: one.absent for one in arms} == {"all-trained": (), "off": ("proprioception",), "expert": ()}
    assert not any(one.absent for one in gather(read_study("smoke"), tmp_path / "none").arms)
