"""Two runs or two arms against each other: figures that can be checked by hand, and what cannot be compared."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import refusal, say
from recorded import record_study

from ablations.runs import Wanted, wanted
from ablations.study_file import read_study
from workbench.record import find, read_json, write_result


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return record_study(tmp_path_factory.mktemp("planted"))


def run_of(planted: tuple[str, Path], arm: str, seed: int = 0) -> Wanted:
    return next(run for run in wanted(read_study(planted[0])) if (run.arm, run.seed) == (arm, seed))


def won(planted: tuple[str, Path], arm: str, seed: int = 0) -> np.ndarray:
    record = find(planted[1], run_of(planted, arm, seed).plan)
    assert record is not None
    return np.array([outcome.success for outcome in record.outcomes()])


def compared(planted: tuple[str, Path], a: str, b: str, *more: str) -> dict:
    said = say("compare", a, b, "--root", str(planted[1]), "--format", "json", *more)
    assert said.code == 0, said
    return json.loads(said.out)


def test_two_runs_are_the_difference_of_their_successes(planted: tuple[str, Path]):
    a, b = (run_of(planted, arm).id for arm in ("all-trained", "freeze-vision"))
    first, second = won(planted, "all-trained"), won(planted, "freeze-vision")
    found = compared(planted, a, b)
    assert found["difference"] == pytest.approx(first.mean() - second.mean())
    assert found["success"] == {a: pytest.approx(first.mean()), b: pytest.approx(second.mean())}
    assert found["ci95"][0] < found["difference"] < found["ci95"][1] and found["seeds"] == 1
    assert compared(planted, b, a)["difference"] == -found["difference"]


def test_two_arms_are_paired_over_all_their_seeds(planted: tuple[str, Path]):
    found = compared(planted, "all-trained", "freeze-vision", "--study", planted[0])
    each = [won(planted, "all-trained", s).mean() - won(planted, "freeze-vision", s).mean() for s in range(3)]
    assert found["difference"] == pytest.approx(np.mean(each)) and found["seeds"] == 3 and found["paired"]
    assert set(found["mcnemar"]) == {"0", "1", "2"} and found["p"] < 0.05 and not found["equivalent"]
    assert set(found["decided_after"]) == {"0", "1", "2"}
    assert all(0 < episodes <= 100 for episodes in found["decided_after"].values())


def test_people_read_both_successes_and_how_far_the_difference_can_be_trusted(planted: tuple[str, Path]):
    said = say("compare", "all-trained", "freeze-vision", "--study", planted[0], "--root", str(planted[1]))
    trials = "(3 seeds × 30 episodes)"
    assert said.code == 0 and said.out.count(trials) == 2 and "paired over 3 seeds" in said.out
    assert "screening" not in said.out
    one = say("compare", "swept", "freeze-vision", "--study", planted[0], "--root", str(planted[1]))
    assert "paired over 1 seed\n" in one.out and "* screening: fewer than 3 training seeds" in one.out


def test_what_cannot_be_compared_is_told_in_a_sentence(planted: tuple[str, Path]):
    root = ("--root", str(planted[1]))
    trained, injection, broken = (run_of(planted, arm).id for arm in ("all-trained", "injection:cloning", "broken"))
    assert "compared with itself" in refusal("compare", trained, trained, *root)
    assert "is an injection and played nothing" in refusal("compare", trained, injection, *root)
    assert "failed (loss is NaN" in refusal("compare", broken, trained, *root)
    assert "No finished run '0123456789ab'" in refusal("compare", trained, "0123456789ab", *root)
    assert "not the id of a run; to compare arms, name their study" in refusal("compare", "scratch", trained, *root)
    arms = ("--study", planted[0], *root)
    assert "Did you mean 'freeze-vision'" in refusal("compare", "all-trained", "freeze-visoin", *arms)
    assert "Nothing that broken played" in refusal("compare", "all-trained", "broken", *arms)
    assert "No study named 'nofile'" in refusal("compare", "all-trained", "broken", "--study", "nofile", *root)


def test_runs_that_played_other_episodes_are_not_compared(planted: tuple[str, Path], tmp_path: Path):
    a, b = (run_of(planted, arm).id for arm in ("all-trained", "freeze-vision"))
    for run in (a, b):
        shutil.copytree(planted[1] / run, tmp_path / run, ignore=shutil.ignore_patterns("films"))
    result = tmp_path / b / "result.json"
    write_result(result.parent, read_json(result) | {"manifest": "0123456789ab"})
    assert "played different episodes" in refusal("compare", a, b, "--root", str(tmp_path))
