import copy
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SmallRun
from pydantic import ValidationError
from tables import RULES

from ablations.runs import wanted
from ablations.study import Study
from ablations.study_file import CONFIGS, read_study, ready_made
from workbench.collect import open_data
from workbench.data.lerobot import open_dataset
from workbench.edits import Reinit, Replace, SetRate, SetTune
from workbench.errors import UserError
from workbench.names import check_names
from workbench.plan import Evaluate, Finetune, Inject, run_id
from workbench.recipes import Expert, Folder
from workbench.record import collected_folder
from workbench.spec import SLOTS, Frozen, Slot, Spec

SMOKE = tomllib.loads((CONFIGS / "smoke.toml").read_text())


def smoke(change: Callable[[dict[str, Any]], object] = lambda content: None) -> dict[str, Any]:
    """The smoke study's content after a change."""
    content = copy.deepcopy(SMOKE)
    change(content)
    return content


def arm(content: dict[str, Any], name: str) -> dict[str, Any]:
    return next(a for a in content["arms"] if a["name"] == name)


def toml(value: Any) -> str:
    """A TOML value: what tomllib reads, written."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{key} = {toml(v)}" for key, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(toml(v) for v in value) + "]"
        case str():
            return repr(value)
        case _:
            return str(value)


def write(folder: Path, content: dict[str, Any]) -> str:
    path = folder / "study.toml"
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in content.items()))
    return str(path)


def add_arm(name: str, *edits: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["arms"].append({"name": name, "edits": list(edits)})


INJECTED = {"edit": "replace", "slot": "vision", "weights": "injection:cloning"}
MISTAKES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda c: c.update(seedz=[0]), r"seedz: No key named 'seedz'\. Did you mean 'seeds'\?"),
    (lambda c: c["budget"].update(stpes=1), r"budget\.stpes: .* Did you mean 'steps'\?"),
    (
        lambda c: arm(c, "lora-language")["edits"][0]["tune"].update(rnak=1),
        r"arms\.2\.edits\.0\.tune\.rnak: No key named 'rnak'\. Did you mean 'rank'\? Known: alpha, dora, .*, targets\.",
    ),
    (
        lambda c: c["injections"]["cloning"]["budget"].update(lerning_rate=1),
        r"injections\.cloning\.budget\.lerning_rate: .* Did you mean 'learning_rate'\?",
    ),
    (
        lambda c: arm(c, "freeze-vision")["edits"][0].update(slot="visoin"),
        r"arms\.1\.edits\.0\.slot: No slot named 'visoin'\. Did you mean 'vision'\?",
    ),
    (
        lambda c: arm(c, "freeze-vision")["edits"][0].update(edit="tunes"),
        r"No edit named 'tunes'\. Did you mean 'tune'",
    ),
    (lambda c: arm(c, "freeze-vision")["edits"][0]["tune"].update(kind="frozn"), r"Did you mean 'frozen'\?"),
    (lambda c: arm(c, "freeze-vision")["edits"][0]["tune"].clear(), r"tune: The key 'kind' is missing\. Known: frozen"),
    (lambda c: c["data"].update(split="finetuning"), r"data\.split: .* Did you mean 'finetune'\?"),
    (lambda c: c["data"].update(tasks=["reech"]), r"data\.tasks: No task named 'reech'\. Did you mean 'reach'\?"),
    (
        lambda c: c["injections"]["cloning"]["data"].update(tasks=["lfit"]),
        r"injections\.cloning\.data\.tasks: .* 'lift'\?",
    ),
    (
        lambda c: c["protocol"].update(tasks=["stakc"]),
        r"protocol\.tasks: No task named 'stakc'\. Did you mean 'stack'\?",
    ),
    (lambda c: c["protocol"].update(tasks=["reach", "reach"]), r"the task 'reach' is named twice"),
    (
        lambda c: c["protocol"].update(benchmark="tabletop"),
        r"No benchmark named 'tabletop'\. Did you mean 'tabletop-v1'",
    ),
    (
        lambda c: c["protocol"].update(camera="front 128x128"),
        r"camera: No camera of tabletop-v1 named 'front 128x128'\. .* 'front 64x64'",
    ),
    (lambda c: c.update(name="My Study"), r"name: 'My Study' is no name: use lower-case letters"),
    (lambda c: c.update(compute={"device": "gpu"}), r"compute\.device: No device named 'gpu'\. Did you mean 'cpu'"),
    (
        lambda c: c.update(compute={"device_map": {"language": "cuda"}}),
        r"compute\.device_map\.language: No device named 'cuda'\. Did you mean 'cpu'",
    ),
    (lambda c: c.update(base={"prompt": "do it"}), r"base\.prompt: 'do it' has no place for the instruction: write"),
    (lambda c: c["protocol"].update(n_action_steps=9), r"n_action_steps is 9, more than the 4 actions"),
    (lambda c: c["contrasts"][0].update(b="freeze-visoin"), r"No arm named 'freeze-visoin'\. .* 'freeze-vision'\?"),
    (lambda c: c["contrasts"][0].update(b="all-trained"), r"compares the arm 'all-trained' with itself"),
    (
        lambda c: arm(c, "injected-frozen")["edits"][0].update(weights="injection:clonin"),
        r"arm 'injected-frozen': No injection named 'clonin'\. Did you mean 'cloning'\?",
    ),
    (
        lambda c: c["injections"].update(second={**c["injections"]["cloning"], "after": "clonin"}),
        r"injections: 'second': No injection named 'clonin'\. Did you mean 'cloning'\?",
    ),
    (
        lambda c: c["injections"]["cloning"].update(edits=[INJECTED]),
        r"the injection 'cloning' starts from itself \('cloning' → 'cloning'\)",
    ),
    (
        lambda c: arm(c, "freeze-vision").update(after="clonin"),
        r"arms: 'freeze-vision': No injection named 'clonin'\. Did you mean 'cloning'\?",
    ),
    (lambda c: arm(c, "freeze-vision").update(adapters="kept"), r"arms\.1: adapters are 'kept', but after names no"),
    (lambda c: c.update(seeds=[]), r"seeds: "),
    (lambda c: arm(c, "freeze-vision").update(seeds=[]), r"arms\.1\.seeds: "),
    (lambda c: c.update(seeds=[-1]), r"seeds\.0: .* \(got -1\)"),
    (lambda c: c["budget"].update(steps="many"), r"budget\.steps: .* \(got 'many'\)"),
    (lambda c: c.pop("budget"), r"budget: Field required"),
    (add_arm("twin"), r"the arms 'all-trained' and 'twin' are the same model"),
    (add_arm("twin", {"edit": "reinit", "slot": "head"}), r"'all-trained' and 'twin' are the same model"),
    (add_arm("all-trained", {"edit": "reinit", "slot": "vision"}), r"two arms have the same name"),
    (
        add_arm("headless", {"edit": "replace", "slot": "head", "module": "chunk-mlp"}),
        r"arm 'headless': head\.weights is 'pretrained', but no backbone has an action head",
    ),
    (
        lambda c: c["injections"]["cloning"]["data"].update(split="finetune"),
        r"data and injections\.cloning\.data both use the 'finetune' episodes",
    ),
    (lambda c: c["data"].update(split="evaluation"), r"both use the 'evaluation' episodes"),
    (lambda c: c["protocol"].update(split="injection"), r"both use the 'injection' episodes"),
]


@pytest.mark.parametrize(("change", "said"), MISTAKES)
def test_a_mistake_is_one_sentence_with_its_place_and_the_nearest_name(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
):
    path = write(tmp_path, smoke(change))
    with pytest.raises(UserError) as caught:
        read_study(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ") and "\n" not in sentence and "pydantic" not in sentence
    assert re.search(said, sentence), sentence


def test_two_injections_that_are_the_same_run_do_not_make_two_arms():
    def twin(content: dict[str, Any]) -> None:
        content["injections"]["second"] = content["injections"]["cloning"]
        edits = [{**INJECTED, "weights": "injection:second"}, arm(content, "injected-frozen")["edits"][1]]
        content["arms"].append({"name": "twin", "edits": edits})

    with pytest.raises(ValueError, match="'injected-frozen' and 'twin' are the same model"):
        Study.model_validate(smoke(twin))


def test_what_is_no_study_file_is_said_so(tmp_path: Path):
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(UserError, match=rf"{broken} is not TOML"):
        read_study(str(broken))
    with pytest.raises(UserError, match=r"No study named 'smok'\. Did you mean 'smoke'\?"):
        read_study("smok")
    with pytest.raises(UserError, match=r"No study file .*missing\.toml\. Ready-made ones: .*smoke"):
        read_study(str(tmp_path / "missing.toml"))


@pytest.mark.parametrize("name", ready_made())
def test_every_ready_made_study_means_runs_each_once(name: str):
    study = read_study(name, planning=True)
    runs = wanted(study)
    assert study.name == name
    assert len({run.id for run in runs}) == len(runs)
    assert len(runs) == len({(run.arm, run.seed, run.rate, run.chooses) for run in runs})
    assert all(run.id == run_id(run.plan) for run in runs)
    assert {run.arm for run in runs} >= {a.name for a in study.arms}


def test_the_smoke_study_has_every_kind_of_edit_and_tune():
    study = read_study("smoke")
    edits = [edit for a in study.arms for edit in a.edits]
    assert {type(edit) for edit in edits} == {SetTune, Replace, Reinit, SetRate}
    assert {edit.tune.kind for edit in edits if isinstance(edit, SetTune)} | {"full"} == {
        "frozen",
        "full",
        "lora",
        "last-blocks",
    }
    assert all(slot in SLOTS for slot in {edit.slot for edit in edits})


def test_an_arm_starts_from_the_run_of_the_injection_that_it_names():
    runs = {run.arm: run.plan for run in wanted(read_study("smoke"))}
    injection, injected = runs["injection:cloning"], runs["injected-frozen"]
    assert isinstance(injection, Inject) and isinstance(injected, Finetune)
    assert injected.spec.vision == Slot(weights=f"run:{run_id(injection)}", tune=Frozen())


def test_a_blank_input_is_played_by_the_model_that_the_seeing_arm_trains():
    def blank_first(content: dict[str, Any]) -> None:
        content["arms"].sort(key=lambda a: a["name"] != "blank-image")

    for content in (smoke(), smoke(blank_first)):
        runs = wanted(Study.model_validate(content))
        plans = {run.arm: run.plan for run in runs}
        blank = plans["blank-image"]
        assert isinstance(blank, Evaluate) and blank.of == run_id(plans["all-trained"])
        assert [run.arm for run in runs if run.id == blank.of] == ["all-trained"]


def test_a_blank_input_without_its_seeing_arm_brings_its_own_training():
    def only_blank(content: dict[str, Any]) -> None:
        content["arms"], content["contrasts"] = [arm(content, "blank-image")], []

    names = [run.arm for run in wanted(Study.model_validate(smoke(only_blank)))]
    assert names == ["injection:cloning", "blank-image (training)", "blank-image"]


def test_an_arm_may_have_its_own_seeds():
    def more_seeds(content: dict[str, Any]) -> None:
        arm(content, "freeze-vision")["seeds"] = [3, 4]

    runs = wanted(Study.model_validate(smoke(more_seeds)))
    assert [run.seed for run in runs if run.arm == "freeze-vision"] == [3, 4]
    assert [run.seed for run in runs if run.arm == "all-trained"] == [0]


def test_the_content_of_a_dataset_folder_is_read_into_the_study(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert not isinstance(small_run.plan.data, Folder)
    monkeypatch.setenv("WORKBENCH_ROOTS", str(small_run.root))
    here = collected_folder(small_run.root, small_run.plan.data)
    there = shutil.copytree(here, tmp_path / "elsewhere")

    def from_folder(folder: Path, **pinned: str) -> Study:
        data = {"kind": "folder", "path": str(folder), **pinned}
        return read_study(write(tmp_path, smoke(lambda c: c.update(data=data))))

    study = from_folder(here)
    assert isinstance(study.data, Folder) and study.data.digest == open_dataset(here).digest
    assert [run.id for run in wanted(study)] == [run.id for run in wanted(from_folder(there))]
    pinned = from_folder(there, digest="0" * 64)
    with pytest.raises(UserError, match=rf"{there} has changed since it was planned \(0000"):
        open_data(tmp_path, pinned.data)


def test_the_tasks_that_a_study_may_name_are_those_of_the_world():
    from workbench.benchmarks.tabletop.tasks import FAMILIES

    assert set(RULES.tasks) == set(FAMILIES)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (Spec(vision=Slot(module="dinov2-smal")), r"No encoder named 'dinov2-smal'\. Did you mean 'dinov2-small'\?"),
        (Spec(projector=Slot(module="mpl")), r"No projector named 'mpl'\. Did you mean 'mlp'\?"),
        (Spec(head=Slot(module="chunk-mpl", weights="random")), r"No head named 'chunk-mpl'\. .* 'chunk-mlp'\?"),
        (Spec(backbone="embeded"), r"No backbone named 'embeded'\. Did you mean 'embedded'\?"),
        (Spec(backbone="./nowhere"), r"'./nowhere' has no config\.json .* workbench pretrain"),
    ],
)
def test_a_name_that_nothing_has_is_refused_before_anything_runs(spec: Spec, said: str):
    with pytest.raises(UserError, match=said):
        check_names(spec)


def test_every_ready_made_study_names_only_what_there_is():
    for name in ready_made():
        for run in wanted(read_study(name, planning=True)):
            if isinstance(run.plan, Finetune | Inject) and run.plan.spec.backbone == "embedded":  # others are asked for
                check_names(run.plan.spec)


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        ({"inputs": {"instruction": "wrong"}}, "metaworld-mt10 has no wrong instructions"),
        ({"inputs": {"instruction": "paraphrased"}}, "metaworld-mt10 has no paraphrased instructions"),
    ],
)
def test_what_a_benchmark_has_not_is_refused_when_the_study_is_read(arm: dict[str, Any], said: str):
    with pytest.raises(ValidationError, match=said):
        Study.model_validate(elsewhere() | {"arms": [{"name": "all-trained"}, {"name": "other", **arm}]})


def test_demonstrations_are_of_the_benchmark_that_is_played_and_seen_as_it_is():
    study = Study.model_validate(elsewhere())
    assert isinstance(study.data, Expert)
    assert (study.data.benchmark, study.data.camera) == ("metaworld-mt10", study.protocol.camera)
    assert study.data.tasks == study.protocol.tasks
    others = {"benchmark": "tabletop-v1"}, {"benchmark": "metaworld-mt50", "camera": "corner2 64x64"}
    for other, said in zip(others, ("another world", "data.camera is 'corner2 64x64'"), strict=True):
        with pytest.raises(ValidationError, match=said):
            Study.model_validate(elsewhere() | {"data": {"kind": "expert", **other}})


def elsewhere() -> dict[str, Any]:
    """A study of another benchmark than the tabletop."""
    protocol = {"benchmark": "metaworld-mt10", "tasks": ["reach-v3"], "n_action_steps": 4}
    asked = {"name": "elsewhere", "question": "?", "arms": [{"name": "all-trained"}], "budget": {}}
    return {**asked, "data": {"kind": "expert"}, "protocol": protocol}


def test_a_folder_whose_actions_are_not_the_benchmarks_is_refused_before_anything_is_run(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A tabletop's demonstrations, seven numbers and a binary gripper, are none of Meta-World's."""
    monkeypatch.setenv("WORKBENCH_ROOTS", str(small_run.root))
    folder = collected_folder(small_run.record.folder.parent, small_run.plan.data)
    path = tmp_path / "study.toml"
    head = 'name = "x"\nquestion = "?"\n[budget]\nchunk = 8\n[protocol]\nbenchmark = "metaworld-mt10"\n'
    path.write_text(f'{head}[[arms]]\nname = "a"\n[data]\nkind = "folder"\npath = "{folder}"\n')
    with pytest.raises(
        UserError, match="7 numbers with a binary gripper, but metaworld-mt10 takes 4 numbers with a cont"
    ):
        read_study(path)
