"""Several `carry_out` on one folder: what one does, the others leave to it, and take over when it dies."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import SmallRun
from processes import alive, children, until

from workbench.engines.contract import Event
from workbench.engines.local import carry_out
from workbench.plan import Finetune, job_id, run_id
from workbench.recipes import Expert
from workbench.record import find

pytestmark = pytest.mark.slow
HOUSE = Path(__file__).parent.parent
SCRIPT = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from pydantic import TypeAdapter
from workbench.engines.local import carry_out
from workbench.plan import Finetune
if __name__ == "__main__":
    plans = TypeAdapter(list[Finetune]).validate_json(sys.argv[2])
    for jobs in ([plans[0].data], plans):
        for event in carry_out(jobs, Path(sys.argv[1]), workers=1):
            print(json.dumps(asdict(event)), flush=True)
"""


def tiny(small_run: SmallRun, seed: int, steps: int = 3) -> Finetune:
    plan = small_run.plan
    budget = plan.budget.model_copy(update={"steps": steps, "batch": 4})
    protocol = plan.protocol.model_copy(update={"initial_states": 1})
    data = Expert(tasks=("reach",), episodes=2, split="finetune")
    return plan.model_copy(update={"seed": seed, "budget": budget, "protocol": protocol, "data": data})


def begin(root: Path, plans: list[Finetune]) -> subprocess.Popen[str]:
    script = root / "share.py"
    script.write_text(SCRIPT)
    text = json.dumps([plan.model_dump(mode="json") for plan in plans])
    return subprocess.Popen([sys.executable, script, root, text], cwd=HOUSE, text=True, stdout=subprocess.PIPE)


def events_of(process: subprocess.Popen[str]) -> list[Event]:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return [Event(**json.loads(line)) for line in out.splitlines()]


@pytest.fixture(scope="module")
def shared(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Finetune], list[Event]]:
    """Two processes that were started with the same four plans on one empty folder; what both told."""
    root, plans = tmp_path_factory.mktemp("shared"), [tiny(small_run, seed) for seed in range(4)]
    both = [begin(root, plans) for _ in range(2)]
    told = [events_of(process) for process in both]
    for events in told:
        assert {event.run for event in events if event.stage == "recorded"} >= {run_id(plan) for plan in plans}
    return root, plans, [*told[0], *told[1]]


def test_each_run_is_done_once_and_both_processes_end(shared: tuple[Path, list[Finetune], list[Event]]):
    root, plans, events = shared
    begun = Counter(event.run for event in events if event.stage in ("training", "collecting") and event.done == 1)
    data = plans[0].data
    assert isinstance(data, Expert)
    assert begun == {job_id(job): 1 for job in (data, *plans)}
    assert not [event for event in events if event.stage == "broken"]
    assert all(find(root, plan) is not None for plan in plans)
    assert os.listdir(root / "claims") == []


def test_what_a_killed_process_left_is_taken_over(small_run: SmallRun, tmp_path: Path):
    shutil.copytree(small_run.root / "data", tmp_path / "data")
    plan = small_run.plan.model_copy(update={"budget": tiny(small_run, 0, steps=60).budget})
    first = begin(tmp_path, [plan])
    assert first.stdout is not None
    while '"training"' not in first.stdout.readline():
        pass
    second = carry_out([plan], tmp_path, workers=1)
    assert next(second) == Event("", "elsewhere", total=1)
    workers = children(first.pid)
    first.kill()
    assert [event.stage for event in second][-1] == "recorded"
    first.wait()
    assert until(lambda: not any(alive(worker) for worker in workers), seconds=3)
    assert find(tmp_path, plan) is not None
