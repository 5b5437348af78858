"""How coarse FAST tokens are is said behind the colon: one spelling for one meaning, and a folder is anything else."""

import subprocess
import sys
from pathlib import Path

import pytest

from ablations.stages import sources, spec_of
from ablations.study import Study
from ablations.study_file import read_study
from workbench.errors import UserError
from workbench.fingerprint import contents_of, fingerprint
from workbench.objectives.facts import spelled, terms
from workbench.objectives.fast_settings import FastSettings, is_settings, read_settings
from workbench.plan import Budget, Inject, run_id
from workbench.recipes import Expert
from workbench.spec import Spec

WRITTEN = {
    "fast-tokens": "fast-tokens",
    "fast-tokens:": "fast-tokens",
    "fast-tokens:scale=10": "fast-tokens",
    "fast-tokens:vocabulary=256,scale=1e+1": "fast-tokens",
    "fast-tokens:scale=10.0000000000001": "fast-tokens",
    "fast-tokens:scale=2,vocabulary=64": "fast-tokens:scale=2,vocabulary=64",
    "fast-tokens: vocabulary = 64 , scale = 2.0": "fast-tokens:scale=2,vocabulary=64",
    "fast-tokens:scale=2,vocabulary=256": "fast-tokens:scale=2",
    "fast-tokens:scale=10,vocabulary=64": "fast-tokens:vocabulary=64",
    "fast-tokens:scale=0.30000000000000004": "fast-tokens:scale=0.3",
    "0.5*fast-tokens:vocabulary=64,scale=2+state": "0.5*fast-tokens:scale=2,vocabulary=64 + state",
    "fast-tokens:fitted/scale=2": "fast-tokens:fitted/scale=2",
    "fast-tokens:./scale=2": "fast-tokens:./scale=2",
    "fast-tokens:/data/published": "fast-tokens:/data/published",
}


@pytest.mark.parametrize("text", WRITTEN)
def test_what_means_the_same_has_one_spelling_and_it_is_its_own(text: str):
    assert spelled(text) == WRITTEN[text] == spelled(WRITTEN[text])


def injection(objective: str) -> Inject:
    return Inject(objective=objective, spec=Spec(), data=Expert(split="injection"), budget=Budget(steps=1))


def test_runs_that_mean_the_same_have_one_id_and_coarser_tokens_another():
    same = ("fast-tokens", "fast-tokens:scale=10", "fast-tokens:vocabulary=256,scale=10")
    coarse = ("fast-tokens:scale=2,vocabulary=64", "fast-tokens:vocabulary=64,scale=2.0")
    assert len({run_id(injection(text)) for text in same}) == 1
    assert len({run_id(injection(text)) for text in coarse}) == 1
    assert len({run_id(injection(text)) for text in (same[0], coarse[0], "fast-tokens:scale=2")}) == 3


def test_what_is_not_said_is_as_it_was_before_it_could_be_said():
    assert read_settings("") == FastSettings(scale=10.0, vocabulary=256)
    assert read_settings("scale=2") == FastSettings(2.0, 256)
    assert read_settings("vocabulary=64") == FastSettings(10.0, 64)
    assert read_settings("vocabulary=64,scale=2") == FastSettings(2.0, 64)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("scal=2", "No setting of fast-tokens named 'scal'. Did you mean 'scale'\\? Known: scale, vocabulary"),
        ("scale=2,vocab=64", "named 'vocab'. Did you mean 'vocabulary'"),
        ("=2", "No setting of fast-tokens named ''"),
        ("scale=2,", "No setting of fast-tokens named ''"),
        ("scale=2,scale=3", "'fast-tokens:scale=2,scale=3' gives scale twice: leave one of them"),
        ("scale=two", "scale=two of fast-tokens is no number: write fast-tokens:scale=2,vocabulary=64"),
        ("scale=2,vocabulary", "vocabulary= of fast-tokens is no number"),
        ("vocabulary=64.5", "vocabulary=64.5 of fast-tokens is no whole number: write vocabulary=64"),
        ("scale=0", "scale=0 of fast-tokens is out of range: it is from 0.1 to 1000"),
        ("scale=1001", "scale=1001 of fast-tokens is out of range"),
        ("scale=nan", "scale=nan of fast-tokens is out of range"),
        ("vocabulary=1", "vocabulary=1 of fast-tokens is out of range: it is from 2 to 65536"),
        ("vocabulary=inf", "vocabulary=inf of fast-tokens is out of range"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_value_and_the_remedy(choice: str, said: str):
    with pytest.raises(UserError, match=said):
        terms(f"fast-tokens:{choice}")


def test_the_same_tokens_twice_are_one_part_of_a_sum():
    with pytest.raises(UserError, match="names one of its parts twice"):
        terms("fast-tokens + fast-tokens:scale=10")


@pytest.mark.parametrize(
    "folder", ["published", "./scale=2", "/data/scale=2", "~/tokens", "fitted/vocabulary=64", "scale"]
)
def test_a_folder_is_anything_else(folder: str):
    assert not is_settings(folder) and terms(f"fast-tokens:{folder}")[0].path == folder


def test_settings_are_never_taken_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Not even where there is one of that name, which is told with its place."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "scale=2"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    assert contents_of("fast-tokens:scale=2") == contents_of("state + fast-tokens:scale=2,vocabulary=64") == {}
    assert contents_of("fast-tokens:./scale=2") == {"./scale=2": fingerprint(folder)}


def test_a_file_of_questions_may_have_an_equals_sign_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scale=2.json").write_text("[]")
    assert set(contents_of("questions:scale=2.json")) == {"scale=2.json"}


def test_settings_are_read_without_torch():
    code = "import sys; from workbench.objectives.facts import spelled; "
    code += "print(spelled('fast-tokens:vocabulary=64,scale=2'), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["fast-tokens:scale=2,vocabulary=64", "False"]


def injected_by(study: Study, arm: str) -> str:
    """The name of the one injection that an arm starts from."""
    (found,) = [one for one in study.arms if one.name == arm]
    (source,) = sources(spec_of(found, study.base, arm))
    return source


def test_the_injection_study_compares_fast_tokens_with_a_control_that_is_trained_as_they_are():
    study = read_study("injection")
    (contrast,) = [one for one in study.contrasts if one.name == "fast-tokens over permuted actions"]
    fast, control = (study.injections[injected_by(study, arm)] for arm in (contrast.a, contrast.b))
    assert (fast.objective, control.objective) == ("fast-tokens:scale=2,vocabulary=64", "permuted-actions")
    assert (fast.budget, fast.data, fast.seed) == (control.budget, control.data, control.seed)
    seeds = {arm.name: arm.seeds for arm in study.arms}
    assert seeds[contrast.a] == seeds[contrast.b] == (0, 1, 2, 3, 4)
