"""An ablation's own command, really run at the size of a smoke test, and what it says to mistakes."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import refusal, say
from conftest import SmallRun

from ablations.beside import as_toml
from ablations.gather import gather
from ablations.runs import wanted
from ablations.study_file import CONFIGS, read_study
from workbench.record import open_record


@dataclass(frozen=True)
class Ablation:
    """What `workbench freeze vision language` told in JSON, and where it recorded its run."""

    root: Path
    told: dict[str, Any]
    progress: str


WORDS = ("freeze", "vision", "language", "--study", "smoke")


@pytest.fixture(scope="module")
def ablation(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Ablation:
    root = Path(shutil.copytree(small_run.root, tmp_path_factory.mktemp("ablation") / "runs"))
    said = say(*WORDS, "--root", str(root), "--workers", "1", "--format", "json")
    assert said.code == 0, said
    return Ablation(root, json.loads(said.out), said.error)


def test_only_what_is_missing_is_run_and_it_is_the_arm(ablation: Ablation, small_run: SmallRun):
    made = {path.parent.name for path in ablation.root.glob("*/result.json")} - {small_run.record.id}
    (id,) = made
    assert "2 runs, 1 of them recorded" in ablation.progress
    tunes = {row["slot"]: row["tune"] for row in open_record(ablation.root, id).ledger()["rows"]}
    assert {slot for slot, tune in tunes.items() if tune == "frozen"} == {"vision", "language"}


def test_the_contrast_is_that_of_the_recorded_episodes(ablation: Ablation, small_run: SmallRun):
    arms = {arm["name"]: arm["success"] for arm in ablation.told["arms"]}
    contrast = ablation.told["contrast"]
    assert arms["all-trained"] == small_run.record.result["success"]
    assert (contrast["a"], contrast["b"]) == ("freeze-vision-language", "all-trained")
    assert contrast["difference"] == arms["freeze-vision-language"] - arms["all-trained"]


def test_what_it_says_to_keep_makes_a_study_of_what_it_ran(ablation: Ablation, tmp_path: Path):
    path = tmp_path / "kept.toml"
    path.write_text((CONFIGS / "smoke.toml").read_text() + "\n" + ablation.told["toml"])
    kept = read_study(str(path))
    (arm,) = (arm for arm in gather(kept, ablation.root).arms if arm.name == "freeze-vision-language")
    assert not arm.missing and list(arm.outcomes) == [0]
    assert {run.id for run in wanted(kept)} > {run.id for run in wanted(read_study("smoke"))}


def test_asked_again_it_runs_nothing_and_prints_for_people(ablation: Ablation):
    before = sorted(ablation.root.rglob("*"))
    said = say(*WORDS, "--root", str(ablation.root))
    assert said.code == 0 and sorted(ablation.root.rglob("*")) == before
    assert "2 runs, 2 of them recorded" in said.out
    flat = " ".join(said.out.split())  # the terminal breaks lines where it ends
    assert all(f"({arm['facts']}; 1 seed × 4 episodes)" in flat for arm in ablation.told["arms"])
    assert "smallest detectable effect" in flat and "* screening" in flat
    assert ablation.told["toml"] in said.out


def test_what_the_study_declares_already_is_said_to_be(small_run: SmallRun):
    assert as_toml(small_run.study, small_run.study) == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("last", "projector"), "The slot 'projector' has no blocks"),
        (("last", "vision", "--blocks", "99"), "has 3 blocks, fewer than the 99"),
        (("lora", "embeddings"), "The slot 'embeddings' has no linear layer"),
        (("replace", "projector", "mpl"), "No projector named 'mpl'. Did you mean 'mlp'?"),
        (("replace", "language", "first-blocks:9"), "has 3 blocks, fewer than the 9"),
        (("freeze", "vision", "projector", "embeddings", "language", "head"), "Every slot of this model is frozen"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_done(words: tuple[str, ...], said: str, tmp_path: Path):
    root = tmp_path / "runs"
    assert said in refusal(*words, "--study", "smoke", "--root", str(root))
    assert not root.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("freeze", "vison"), "Did you mean 'vision'?"),
        (("freeze", "vision", "--seeds", "0,0"), "a seed that is used twice is one training"),
        (("freeze", "vision", "--seeds", "-1"), "greater than or equal to 0 (got -1)"),
        (("freeze", "vision", "--seeds", "one"), "--seeds 'one' are no seeds"),
        (("freeze", "vision", "--study", "nofile"), "No study named 'nofile'"),
        (("reinit", "head"), "are the same model: an edit changes nothing"),
        (("reinit", "head", "--shuffled"), "no backbone has an action head"),
        (("replace", "vision", "native"), "are the same model"),
        (("lora", "vision", "--alpha", "inf"), "alpha: Input should be a finite number"),
        (("mask", "image", "--how", "wrng"), "Known: blank, first-frame, noise, other-episode"),
        (("inject", "foo"), "No objective named 'foo'. Known: action-regression, behaviour-cloning"),
    ],
)
def test_a_mistake_is_one_sentence(words: tuple[str, ...], said: str, tmp_path: Path):
    assert said in refusal(*words, "--root", str(tmp_path / "runs"), "--dry-run")
