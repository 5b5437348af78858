"""A few arms of the smoke study on each engine for clusters, one of whose workers is struck in the middle.

What is recorded, and so the table, is that of this machine's own engine.
"""

import json
import os
import shutil
import signal
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import SmallRun
from processes import alive, children, until

import workbench.engines
from ablations.bottleneck import bottleneck
from ablations.gather import gather
from ablations.runs import Wanted, wanted
from ablations.screens.study import uncollected
from ablations.study import Study
from ablations.study_file import read_study
from workbench.claim import Owner, Watch
from workbench.engines import local, ray, slurm
from workbench.engines.contract import Engine, Event, Order
from workbench.engines.distant import caller, cores, do_apart, gpus
from workbench.engines.means import Means
from workbench.engines.registry import engine
from workbench.errors import UserError
from workbench.plan import Compute, Evaluate, Inputs, Replay, run_id
from workbench.record import NO_CACHE, find, open_record

pytestmark = pytest.mark.slow
ARMS = ("all-trained", "freeze-vision", "blank-image", "expert")
STRUCK = "freeze-vision"
CLUSTERS: dict[str, tuple[Engine, signal.Signals]] = {
    "ray": (partial(ray.carry_out, workers=2, address=None), signal.SIGKILL),
    "slurm": (partial(slurm.carry_out, workers=2), signal.SIGUSR2),
}
"""Each with what strikes a worker: it is killed, or told that its machine is taken away."""


@dataclass(frozen=True)
class Story:
    """What an engine left on disk, what it told, and which processes did the run that was struck."""

    root: Path
    runs: list[Wanted]
    events: list[Event]
    workers: list[int]

    def id_of(self, arm: str) -> str:
        return next(run.id for run in self.runs if run.arm == arm)

    def results(self) -> dict[str, tuple[str | None, list[dict[str, Any]]]]:
        """Of each run: the digest of its weights, and what came of its episodes but for the time that they took."""
        return {run.arm: self._result(run) for run in self.runs}

    def _result(self, run: Wanted) -> tuple[str | None, list[dict[str, Any]]]:
        record = open_record(self.root, run.id)
        outcomes = record.outcomes() if record.result["episodes"] else []
        return record.result.get("weights_sha256"), [asdict(o) | {"seconds": 0.0} for o in outcomes]

    def table(self, study: Study) -> list[dict[str, Any]]:
        rows = json.loads(bottleneck(gather(study, self.root)).as_json())["arms"]
        return [row | {"seconds": 0.0} for row in rows]


@pytest.fixture(scope="module")
def study() -> Study:
    """One arm is long enough to be struck."""
    study = read_study("smoke", [f"arms.{STRUCK}.budget={{ steps = 40 }}"])
    arms = tuple(arm for arm in study.arms if arm.name in ARMS)
    return study.model_copy(update={"arms": arms, "injections": {}})


@pytest.fixture(scope="module")
def alone(study: Study, small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The same on this machine, with nothing struck."""
    root, runs = tmp_path_factory.mktemp("alone") / "runs", wanted(study)
    shutil.copytree(small_run.root, root)
    list(local.carry_out(uncollected([run.plan for run in runs], root), root, workers=1))
    events = list(local.carry_out([run.plan for run in runs], root, workers=2))
    return Story(root, runs, events, [])


def owner(root: Path, id: str) -> Owner | None:
    """Who holds a job now."""
    for path in sorted((root / "claims").glob(f"{id}.*"), reverse=True):
        return Owner(**json.loads(path.read_text()))
    return None


def struck(name: str, alone: Story, root: Path) -> Story:
    """The same on a cluster, with one worker struck."""
    carry_out, strike = CLUSTERS[name]
    shutil.copytree(alone.root / "data", root / "data")
    workers, events, victim = list[int](), list[Event](), alone.id_of(STRUCK)
    for event in carry_out([run.plan for run in alone.runs], root):
        events.append(event)
        if (event.run, event.stage) == (victim, "training") and (made := owner(root, victim)) is not None:
            if not workers:
                os.kill(made.pid, strike)
            workers.append(made.pid)
    return Story(root, alone.runs, events, workers)


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_one_of_whose_workers_was_struck_records_the_same_table(
    name: str, alone: Story, study: Study, tmp_path: Path
):
    story = struck(name, alone, tmp_path)
    victim = story.id_of(STRUCK)
    assert len(set(story.workers)) == 2, "another worker did it again"
    assert [event.stage for event in story.events if event.run == victim][-1] == "recorded"
    assert not [event for event in story.events if event.stage in ("broken", "elsewhere")]
    assert story.results() == alone.results() and len(story.results()) == len(ARMS)
    assert story.table(study) == alone.table(study)
    assert os.listdir(story.root / "claims") == os.listdir(story.root / "progress") == []
    assert until(lambda: not any(alive(worker) for worker in story.workers), seconds=5)
    assert "default_worker" not in open_record(story.root, victim).result["provenance"]["command"]


@pytest.mark.parametrize("name", CLUSTERS)
def test_closing_an_engine_ends_its_workers_and_gives_their_claims_back(name: str, small_run: SmallRun, tmp_path: Path):
    shutil.copytree(small_run.root / "data", tmp_path / "data")
    budget = small_run.plan.budget.model_copy(update={"steps": 100_000, "batch": 2})
    plan = small_run.plan.model_copy(update={"budget": budget})
    others, handler = set(children(os.getpid())), signal.getsignal(signal.SIGTERM)
    calls = CLUSTERS[name][0]([plan], tmp_path)
    assert signal.getsignal(signal.SIGTERM) == handler
    assert next(calls).stage == "training"
    made = owner(tmp_path, run_id(plan))
    assert made is not None and alive(made.pid)
    calls.close()
    assert until(lambda: not alive(made.pid), seconds=8)
    assert Watch(tmp_path).vacant(run_id(plan)) == 1 and find(tmp_path, plan) is None
    assert until(lambda: not any(alive(child) for child in set(children(os.getpid())) - others), seconds=8)


def test_a_run_gets_the_gpus_that_its_plan_names(small_run: SmallRun):
    def wanted_by(device: str, auto: int = 0, **device_map: str) -> int:
        compute = Compute.model_validate({"device": device, "device_map": device_map})
        return gpus(small_run.plan.model_copy(update={"compute": compute}), small_run.root, auto=auto)

    assert [wanted_by("cpu"), wanted_by("cuda"), wanted_by("cuda:0"), wanted_by("cuda:3")] == [0, 1, 1, 4]
    assert [wanted_by("auto", auto=0), wanted_by("auto", auto=1), wanted_by("cpu", auto=1)] == [0, 1, 0]
    assert wanted_by("cuda", language="cuda:1") == 2
    compute = Compute(device="cuda", processes=3)
    three = small_run.plan.model_copy(update={"compute": compute})
    assert (gpus(three, small_run.root, auto=0), cores(three)) == (3, 3)
    again = Evaluate(of=small_run.record.id, protocol=small_run.plan.protocol, inputs=Inputs(image="blank"))
    assert cores(again) == 1
    assert gpus(again, small_run.root, auto=1) == 1  # the policy's plan says auto
    assert gpus(Replay(protocol=small_run.plan.protocol), small_run.root, auto=1) == 0


def test_no_engine_keeps_features_where_none_are_to_be_kept(small_run: SmallRun, monkeypatch: pytest.MonkeyPatch):
    """Workers here inherit the variable, as a Ray cluster of this machine does; others are told by who calls."""
    monkeypatch.setattr(sys, "argv", ["workbench", "run"])
    for kept, told in ((True, ""), (False, "1"), (True, "")):
        monkeypatch.setenv(NO_CACHE, "1" if kept else "")
        engine(Means(cache=kept))
        assert os.environ[NO_CACHE] == told
        ordered = caller()
        monkeypatch.setenv(NO_CACHE, "as on another machine")
        assert do_apart(Order(small_run.record.id, small_run.plan, 0), small_run.root, ordered).stage == "recorded"
        assert os.environ[NO_CACHE] == told and sys.argv == ["workbench", "run"]


def test_an_engine_is_chosen_by_name_and_an_address_is_rays():
    with pytest.raises(UserError, match="--address is that of a Ray cluster, but the engine is slurm"):
        engine(Means("slurm", address="here:6379"))
    assert isinstance(engine(Means("ray", 3, "here:6379")), partial)


def test_a_ray_cluster_that_is_not_there_is_refused_in_a_sentence(small_run: SmallRun, tmp_path: Path):
    with pytest.raises(UserError, match=r"There is no Ray cluster at 127\.0\.0\.1:1"):
        list(engine(Means("ray", 1, "127.0.0.1:1"))([small_run.plan], tmp_path))


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_package_that_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, name: Any, package: str):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"workbench.engines.{name}")
    monkeypatch.delattr(workbench.engines, name)
    with pytest.raises(UserError, match=rf"pip install 'vla-workbench\[{name}\]'"):
        engine(Means(name))
