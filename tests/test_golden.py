"""A change that should not alter numbers reproduces the smoke study's loss; one that should raises RESULTS_VERSION."""

import pytest
from conftest import SmallRun

GOLDEN_LOSS = 0.302200
"""Mean loss of the six steps of the smoke study's first arm."""


def test_the_smoke_study_has_its_golden_loss(small_run: SmallRun) -> None:
    loss = small_run.record.result["final_loss"]
    assert loss == pytest.approx(GOLDEN_LOSS, rel=1e-3)  # another processor rounds differently; a bug is larger
