"""What is refused when records are gathered, and what is told of them."""

from pathlib import Path

import pytest
from recorded import record_study

from ablations.arms import Arm
from ablations.gather import _different_seeds, gather
from ablations.runs import wanted
from ablations.study_file import read_study
from workbench.errors import UserError
from workbench.record import Record, read_json, write_result


def records(*weights: str | None) -> dict[int, Record]:
    plan = wanted(read_study("smoke"))[0].plan
    return {
        seed: Record(f"run{seed}", Path(), plan, {"weights_sha256": bits} if bits else {})
        for seed, bits in enumerate(weights)
    }


def test_seeds_that_gave_the_same_weights_are_refused():
    with pytest.raises(UserError, match="seeds 0 and 2 of the arm 'one' gave the same weights.* Delete the run run2"):
        _different_seeds(Arm(name="one"), records("aa", "bb", "aa"))


def test_seeds_that_gave_other_weights_or_have_none_of_their_own_pass():
    assert _different_seeds(Arm(name="one"), records("aa", "bb", None, None)) is None


def test_episodes_that_a_simulator_broke_are_told_beneath_the_table(tmp_path):
    file, root = record_study(tmp_path)
    study = read_study(file)
    assert not any("simulator broke" in note for note in gather(study, root).notes)
    for run in [run for run in wanted(study) if run.arm == "freeze-vision"][:2]:
        folder = root / run.id
        write_result(folder, read_json(folder / "result.json") | {"faults": 2})
    [note] = [note for note in gather(study, root).notes if "simulator broke" in note]
    assert note.startswith("4 of all episodes count as failed")
