import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import SmallRun

from workbench.claim import Watch
from workbench.engines.contract import Event, Order
from workbench.engines.work import do
from workbench.plan import Finetune, job_id, run_id
from workbench.recipes import Expert
from workbench.record import collected_folder, find, is_done


@dataclass
class Ear:
    """Hears what a worker tells; another process takes its claim over when `stage` is told for the first time."""

    root: Path
    stage: str = ""
    heard: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.heard.append(event)
        if event.stage == self.stage:
            (self.root / "claims" / f"{event.run}.0002").touch()


@pytest.fixture
def root(small_run: SmallRun, tmp_path: Path) -> Path:
    shutil.copytree(small_run.root / "data", tmp_path / "data")
    return tmp_path


def order(small_run: SmallRun) -> tuple[Finetune, Order]:
    protocol = small_run.plan.protocol.model_copy(update={"initial_states": 2})
    plan = small_run.plan.model_copy(update={"seed": 5, "protocol": protocol})
    return plan, Order(run_id(plan), plan, over=0)


@pytest.mark.parametrize("stage", ["training", "playing"])
def test_a_worker_whose_claim_was_taken_over_writes_no_result(small_run: SmallRun, root: Path, stage: str):
    plan, given = order(small_run)
    ear = Ear(root, stage)
    assert do(given, root, ear) == Event(given.id, "taken")
    assert ear.heard[-1].stage == stage and ear.heard[-1].done < ear.heard[-1].total
    assert find(root, plan) is None and Watch(root).vacant(given.id) is None


def test_a_dataset_whose_claim_was_taken_over_is_not_written(tmp_path: Path):
    recipe = Expert(tasks=("reach",), episodes=2)
    given = Order(job_id(recipe), recipe, over=0)
    assert do(given, tmp_path, Ear(tmp_path, "collecting")) == Event(given.id, "taken")
    assert not is_done(tmp_path, recipe) and list(tmp_path.glob("data/*")) == []


def test_what_was_recorded_before_the_claim_was_made_is_not_done_again(small_run: SmallRun):
    result = small_run.record.folder / "result.json"
    before, ear = result.stat().st_mtime_ns, Ear(small_run.root)
    assert do(Order(small_run.record.id, small_run.plan, 0), small_run.root, ear).stage == "recorded"
    assert isinstance(small_run.plan.data, Expert)
    data = Order(job_id(small_run.plan.data), small_run.plan.data, 0)
    assert do(data, small_run.root, ear).stage == "recorded"
    assert ear.heard == [] and result.stat().st_mtime_ns == before
    assert list((small_run.root / "claims").iterdir()) == []


def test_a_job_that_another_holds_is_not_begun(small_run: SmallRun, root: Path):
    plan, given = order(small_run)
    (root / "claims").mkdir()
    (root / "claims" / f"{given.id}.0001").touch()
    ear = Ear(root)
    assert do(given, root, ear).stage == "taken"
    assert ear.heard == [] and not (root / given.id).exists()


def test_a_mistake_is_told_and_the_claim_given_back(small_run: SmallRun, root: Path):
    plan, given = order(small_run)
    shutil.rmtree(root / "data")
    ended = do(given, root, Ear(root))
    assert ended.stage == "broken" and collected_folder(root, plan.data).name in ended.error  # type: ignore[arg-type]
    assert Watch(root).vacant(given.id) == 1
