"""One thread a process: two busy processes with two threads each run ten times slower than with one."""

import os
import subprocess
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from ablations.runs import wanted
from ablations.study import Study
from ablations.study_file import read_study
from workbench.plan import Finetune
from workbench.recipes import Expert
from workbench.record import Record, collected_folder, find

torch.set_num_threads(1)


@dataclass(frozen=True)
class SmallRun:
    """A finished run of the smoke study's arm `all-trained`. The root is shared by all tests: copy what you change."""

    root: Path
    study: Study
    plan: Finetune
    record: Record


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """Really collected, trained for a few steps, played and recorded, as `workbench run smoke` does it."""
    from workbench.collect import collect
    from workbench.execute import execute

    root, study = tmp_path_factory.mktemp("runs"), read_study("smoke")
    plan = next(run.plan for run in wanted(study) if run.arm == "all-trained")
    assert isinstance(plan, Finetune) and isinstance(plan.data, Expert)
    collect(plan.data, collected_folder(root, plan.data))
    execute(plan, root)
    record = find(root, plan)
    assert record is not None and record.error is None, record
    return SmallRun(root, study, plan, record)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB. Its tests are skipped where the user may not mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, text=True)
    if os.geteuid() != 0 or "permission denied" in mounted.stderr:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    assert mounted.returncode == 0, mounted.stderr
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)  # a mapped file may be let go a moment later


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", default="0.02", help="Share of the fault suite's full size that is tried.")
