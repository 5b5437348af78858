"""What is refused when records are gathered: seeds that were not used."""

from pathlib import Path

import pytest

from ablations.arms import Arm
from ablations.gather import _different_seeds
from ablations.study import wanted
from ablations.study_file import read_study
from workbench.errors import UserError
from workbench.record import Record


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
