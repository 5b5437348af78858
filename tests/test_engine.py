import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import SmallRun
from processes import alive, at_work, children, open_files, until

from workbench.collect import collect
from workbench.engines import local
from workbench.engines.contract import Event
from workbench.engines.local import carry_out, default_workers
from workbench.plan import Evaluate, Finetune, Inject, Inputs, Plan, run_id
from workbench.recipes import Expert, Folder
from workbench.record import collected_folder, find
from workbench.spec import Frozen, Slot, Spec

ENDLESS = 100_000
"""Steps of a run that only ends when its worker does."""


@dataclass(frozen=True)
class Story:
    """What two workers did with eight plans, two of them endless: one lost its worker, then all was closed."""

    root: Path
    plans: dict[str, Plan]
    events: list[Event]
    children: list[int]
    """Processes that were left after the call was closed."""

    def of(self, name: str) -> list[Event]:
        return [event for event in self.events if event.run == run_id(self.plans[name])]


def plans_of(small_run: SmallRun, root: Path) -> dict[str, Plan]:
    protocol = small_run.plan.protocol.model_copy(update={"initial_states": 1})
    short = small_run.plan.model_copy(update={"protocol": protocol})
    endless = short.model_copy(update={"budget": short.budget.model_copy(update={"steps": ENDLESS, "batch": 2})})
    shown = Expert(episodes=2, split="injection")
    collect(shown, collected_folder(root, shown))
    inject = Inject(spec=Spec(), data=shown, budget=short.budget)
    injected = Spec(vision=Slot(weights=f"run:{run_id(inject)}", tune=Frozen()))
    killed = endless.model_copy(update={"seed": 1})
    return {
        "injected": short.model_copy(update={"spec": injected}),
        "injection": inject,
        "begun before": short,
        "needs the killed": Evaluate(of=run_id(killed), protocol=protocol, inputs=Inputs(image="blank")),
        "killed": killed,
        "without data": short.model_copy(update={"data": Folder(path=str(root / "nowhere"))}),
        "recorded before": small_run.plan,
        "closed": endless.model_copy(update={"seed": 2}),
    }


def worker_of(folder: Path) -> int:
    """The process that writes the log of a run."""
    for process in multiprocessing.active_children():
        if process.pid is not None and folder / "log.jsonl" in open_files(process.pid):
            return process.pid
    raise AssertionError(f"no process writes in {folder}")


@pytest.fixture(scope="module")
def story(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Story:
    root = Path(shutil.copytree(small_run.root, tmp_path_factory.mktemp("engine") / "runs"))
    plans = plans_of(small_run, root)
    half = root / run_id(plans["begun before"])
    half.mkdir()
    (half / "half.txt").write_text("an interrupted run left this")
    calls = carry_out(list(plans.values()), root, workers=2)
    waiting_for, events = {run_id(plans["killed"]), run_id(plans["closed"])}, list[Event]()
    for event in calls:
        events.append(event)
        if event.run == run_id(plans["closed"]) and run_id(plans["needs the killed"]) in {e.run for e in events}:
            break
        if event.run in waiting_for and event.done == 2:
            waiting_for.remove(event.run)
            if not waiting_for:
                os.kill(worker_of(root / run_id(plans["killed"])), signal.SIGKILL)
    calls.close()  # type: ignore[attr-defined]
    return Story(root, plans, events, [p.pid or 0 for p in multiprocessing.active_children()])


def test_a_killed_worker_breaks_its_run_and_what_needs_it(story: Story):
    assert story.of("killed")[-1].stage == "broken"
    assert story.of("killed")[-1].error == "its worker process died with exit code -9"
    assert [(e.stage, e.error) for e in story.of("needs the killed")] == [("broken", "a run that it needs broke")]


def test_the_other_worker_goes_on(story: Story):
    assert story.of("closed")[-1] in story.events[story.events.index(story.of("killed")[-1]) :]


@pytest.mark.parametrize("name", ["injection", "injected", "begun before"])
def test_the_other_runs_are_recorded(story: Story, name: str):
    record = find(story.root, story.plans[name])
    assert story.of(name)[-1].stage == "recorded"
    assert record is not None and record.error is None and (record.folder / "policy.safetensors").is_file()


def test_a_run_that_needs_another_waits_for_it(story: Story):
    order = [e.run for e in story.events]
    recorded = next(i for i, e in enumerate(story.events) if e == story.of("injection")[-1])
    assert order.index(run_id(story.plans["injected"])) > recorded


def test_events_count_up_to_their_total(story: Story):
    for stage, total in (("training", 6), ("playing", 1)):
        counted = [(e.done, e.total) for e in story.of("injected") if e.stage == stage]
        assert counted == [(i + 1, total) for i in range(total)]


def test_a_half_made_folder_is_made_again(story: Story):
    assert not (story.root / run_id(story.plans["begun before"]) / "half.txt").exists()


def test_what_is_recorded_is_not_done_again(story: Story, small_run: SmallRun):
    assert story.of("recorded before") == []
    before = (small_run.record.folder / "result.json").stat().st_mtime_ns
    assert (story.root / small_run.record.id / "result.json").stat().st_mtime_ns == before


def test_a_mistake_in_a_plan_is_told_in_a_sentence(story: Story):
    [event] = story.of("without data")
    assert event.stage == "broken" and "Traceback" not in event.error
    assert event.error.startswith(f"There is nothing at {story.root / 'nowhere'}")


def test_closing_the_call_leaves_no_process_and_loses_only_the_runs_in_progress(story: Story):
    assert story.children == []
    assert story.of("closed")[-1].stage == "training"
    assert find(story.root, story.plans["closed"]) is None
    assert (story.root / run_id(story.plans["closed"]) / "log.jsonl").is_file()


def test_the_claim_of_a_run_that_came_to_nothing_is_given_back_and_the_others_are_gone(story: Story):
    left = {path.name: path.stat().st_mtime for path in (story.root / "claims").iterdir()}
    assert left == {f"{run_id(story.plans[name])}.0001": 0 for name in ("killed", "closed", "without data")}


def test_a_second_call_has_nothing_to_do(story: Story):
    done = [plan for plan in story.plans.values() if find(story.root, plan) is not None]
    assert len(done) == 4
    assert list(carry_out(done, story.root, workers=2)) == []


@pytest.fixture
def killer() -> Iterator[set[int]]:
    """Kills every worker as soon as it is there, until the test ends; the set fills with their process ids."""
    killed, over = set[int](), threading.Event()

    def kill() -> None:
        while not over.wait(0.02):
            for process in multiprocessing.active_children():
                if process.pid is not None and process.pid not in killed:
                    killed.add(process.pid)
                    process.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    yield killed
    over.set()
    thread.join()


def test_a_dead_worker_is_replaced(small_run: SmallRun, tmp_path: Path, killer: set[int]):
    plans = [small_run.plan.model_copy(update={"seed": seed}) for seed in (1, 2)]
    events = list(carry_out(plans, tmp_path, workers=1))
    assert [(e.run, e.stage) for e in events] == [(run_id(plan), "broken") for plan in plans]
    assert len(killer) == 2


def test_a_killed_parent_leaves_no_worker_behind(small_run: SmallRun, tmp_path: Path):
    script = tmp_path / "parent.py"
    script.write_text(
        "from pathlib import Path\n"
        "from workbench.engines.local import carry_out\n"
        "from workbench.plan import Finetune\n"
        "if __name__ == '__main__':\n"
        f"    plan = Finetune.model_validate_json('''{small_run.plan.model_dump_json()}''')\n"
        f"    list(carry_out([plan], Path({str(tmp_path)!r}), workers=1))\n"
    )
    parent = subprocess.Popen([sys.executable, script], cwd=Path(__file__).parent.parent)
    assert until(lambda: at_work(parent.pid))
    workers = children(parent.pid)
    parent.kill()
    parent.wait()
    assert until(lambda: not any(alive(worker) for worker in workers), seconds=3)


def test_at_most_two_workers_by_default():
    assert 1 <= default_workers() <= 2


def test_the_plans_of_this_file_are_different_runs(story: Story):
    assert len({run_id(plan) for plan in story.plans.values()}) == len(story.plans)
    assert isinstance(story.plans["killed"], Finetune)


def test_two_workers_do_not_share_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(local, "GPUS", tmp_path)
    assert default_workers() == 1
