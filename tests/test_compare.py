"""A comparison is a study like any other: the same arms, the same runs, the same statistics."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import SmallRun
from test_cli import printed, refused

from ablations.compare import ADAPTER, REFERENCE, arm_name, comparing
from ablations.runs import wanted
from ablations.study import Study
from ablations.study_file import CONFIGS, read_study
from workbench.edits import Reinit
from workbench.errors import UserError
from workbench.plan import Finetune
from workbench.record import find
from workbench.screens.console import console
from workbench.spec import Frozen, Slot

NAMES = ("tiny", "raw-patches")
ARMS = """
[[arms]]
name = "adapter"
edits = [{ edit = "replace", slot = "projector", module = "mlp", weights = "random", tokens = "match" }]

[[arms]]
name = "small"
edits = [
    { edit = "replace", slot = "vision", module = "tiny", weights = "random" },
    { edit = "replace", slot = "projector", module = "mlp", weights = "random", tokens = "match" },
]

[[arms]]
name = "pixels"
edits = [
    { edit = "replace", slot = "vision", module = "raw-patches", weights = "random" },
    { edit = "replace", slot = "projector", module = "mlp", weights = "random", tokens = "match" },
]
"""


def written(folder: Path, *, base: str = "") -> Study:
    """The smoke study with the arms of a comparison, as a user writes it."""
    head = (CONFIGS / "smoke.toml").read_text().split("[injections.cloning]")[0]
    path = folder / "study.toml"
    path.write_text(head + base + ARMS)
    return read_study(str(path))


def test_the_runs_of_a_comparison_are_those_of_a_study_file_with_its_arms(tmp_path: Path):
    ours = wanted(comparing(read_study("smoke"), NAMES, weights="random"))
    assert [run.id for run in ours] == [run.id for run in wanted(written(tmp_path))]
    assert [run.arm for run in ours] == [REFERENCE, *NAMES]


def test_what_the_base_says_of_the_vision_slot_holds_for_every_arm(tmp_path: Path):
    study = written(tmp_path, base='[base.vision]\nweights = "random"\ntune = { kind = "frozen" }\n')
    compared = comparing(study, NAMES)
    assert [run.id for run in wanted(comparing(study, NAMES, weights="random"))] == [run.id for run in wanted(study)]
    seen = [run.plan.spec.vision for run in wanted(compared) if isinstance(run.plan, Finetune)]
    assert seen == [
        Slot(weights="random", tune=Frozen()),
        *(Slot(module=name, weights="pretrained", tune=Frozen()) for name in NAMES),
    ]


def test_the_reference_is_the_native_encoder_where_the_base_holds_another(tmp_path: Path):
    base = '[base.vision]\nmodule = "resnet-18"\n[base.projector]\nmodule = "linear"\nweights = "random"\n'
    reference, *_ = wanted(comparing(written(tmp_path, base=base), ["tiny"]))
    assert isinstance(reference.plan, Finetune)
    assert reference.plan.spec.vision == Slot()
    assert reference.plan.spec.projector == Slot(module="mlp", weights="random", tokens=ADAPTER.tokens)


def test_only_an_injection_that_an_arm_starts_from_is_taken_over():
    study = read_study("smoke")
    assert comparing(study, NAMES).injections == {}
    injected = study.base.with_slot("vision", Slot(weights="injection:cloning"))
    cloning = study.injections["cloning"].model_copy(update={"edits": (Reinit(slot="vision"),)})
    compared = comparing(study.model_copy(update={"base": injected, "injections": {"cloning": cloning}}), NAMES)
    assert compared.injections == {"cloning": cloning}
    assert [run.arm for run in wanted(compared)] == ["injection:cloning", REFERENCE, *NAMES]


def test_every_difference_to_the_reference_is_declared():
    study = comparing(read_study("smoke"), ["tiny", "timm:resnet18.tv_in1k"])
    assert [(c.name, c.b) for c in study.contrasts] == [
        ("tiny", REFERENCE),
        ("timm:resnet18.tv_in1k", REFERENCE),
    ]
    assert [c.a for c in study.contrasts] == [arm.name for arm in study.arms[1:]]


def test_an_arm_has_the_encoders_name_or_one_that_tells_it_from_all_others():
    assert arm_name("dinov2-base") == "dinov2-base"
    names = [arm_name(name) for name in ("timm:a.b", "timm:A.b", "timm.a.b", "hf:./a_b")]
    assert len(set(names)) == len(names) and all(name.startswith(("timm-a-b-", "hf-a-b-")) for name in names)


def test_native_and_a_name_given_twice_are_refused():
    with pytest.raises(UserError, match="'native' is the reference of every comparison"):
        comparing(read_study("smoke"), ["native"])
    with pytest.raises(UserError, match="The encoder 'tiny' is named twice"):
        comparing(read_study("smoke"), ["tiny", "raw-patches", "tiny"])


def changed(folder: Path, base: str) -> str:
    path = folder / "changed.toml"
    path.write_text((CONFIGS / "smoke.toml").read_text().replace("[data]", f"{base}\n[data]", 1))
    return str(path)


@pytest.mark.parametrize(
    ("names", "base", "said"),
    [
        (["resnet-81"], "", "No encoder named 'resnet-81'. Did you mean 'resnet-18'?"),
        (["fused:resnet-18+dinov2-base"], "", "cannot be fused token by token"),
        (["tiny"], "", 'No weights of "tiny" were published. Use weights = "random".'),
        (["raw-patches"], '[base.vision]\ntune = { kind = "last-blocks", blocks = 1 }\n', "vision"),
        (["tiny"], "[compute]\ndevice = 'cuda:99'\n", "compute.device is 'cuda:99'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, names: list[str], base: str, said: str
):
    root, study = tmp_path / "runs", changed(tmp_path, base)
    assert said in refused(capsys, "encoders", "compare", *names, "--study", study, "--root", str(root))
    assert not root.exists()


@pytest.mark.slow
def test_a_comparison_trains_what_is_missing_and_prints_costs_and_contrasts(
    capsys: pytest.CaptureFixture[str], small_run: SmallRun, tmp_path: Path
):
    root = Path(shutil.copytree(small_run.root, tmp_path / "runs"))
    command = ["encoders", "compare", *NAMES, "--study", "smoke", "--random-weights", "--root", str(root)]
    seen = json.loads(printed(capsys, *command, "--workers", "1", "--format", "json"))
    runs = wanted(comparing(read_study("smoke"), NAMES, weights="random"))
    records = {run.arm: find(root, run.plan) for run in runs}
    assert all(record is not None and record.error is None for record in records.values())
    assert [row["arm"] for row in seen["encoders"]] == [arm["name"] for arm in seen["arms"]] == [REFERENCE, *NAMES]
    assert [row["name"] for row in seen["encoders"]] == ["native", *NAMES]
    assert [row["tokens"] for row in seen["encoders"]] == [16, 16, 256]
    assert [row["parameters"] for row in seen["encoders"]][1:] == [893_824, 0]
    assert all(row["images_per_second"] > 0 for row in seen["encoders"])
    rates = {arm["name"]: arm["success"] for arm in seen["arms"]}
    for contrast in seen["contrasts"]:
        assert contrast["difference"] == rates[contrast["a"]] - rates[REFERENCE] and contrast["screening"]
        assert contrast["ci95"][0] <= contrast["difference"] <= contrast["ci95"][1]
    results = {path: path.stat().st_mtime_ns for path in root.glob("*/result.json")}
    shown = printed(capsys, *command)
    assert "3 runs, 3 of them recorded" in shown and "comparison of encoders" in shown
    assert all(name in shown for name in ("native", *NAMES, "FLOPs", "images/s", "Holm", "mde"))
    document = printed(capsys, *command, "--format", "markdown")
    assert document.startswith("# smoke-encoders") and "| raw-patches | 0 | 0 G | 224 | 256 | 588 |" in document
    assert {path: path.stat().st_mtime_ns for path in root.glob("*/result.json")} == results
    assert not console.stderr
