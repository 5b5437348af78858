"""The fault suite: kill -9 at random moments, many starts at once, random damage. Small here, by hand at full size:

    pytest tests/test_faults.py --faults 1

Starts are forked from a server that has torch in memory already: one costs milliseconds, not seconds. They are not
forked from this process, whose threads (of pytest, of Ray) may hold locks that nobody would open in a child.
"""

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import SmallRun
from starts import work

from ablations.bottleneck import bottleneck
from ablations.curves import curves
from ablations.gather import gather
from workbench.benchmarks.contract import Protocol
from workbench.collect import collect, open_data
from workbench.errors import UserError
from workbench.execute import execute
from workbench.plan import Budget, Finetune, Job, Replay, job_id, run_id
from workbench.recipes import Expert
from workbench.record import Record, collected_folder, find, open_record
from workbench.spec import LastBlocks, Slot, Spec
from workbench.training import fit
from workbench.training.checkpoint import Keeper
from workbench.weights import read_weights

pytestmark = pytest.mark.slow
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["starts"])
LONGEST = 120.0
"""Seconds that one start may take."""
PROTOCOL = Protocol.model_validate({"tasks": ["reach"], "initial_states": 2})
DATA = Expert.model_validate({"tasks": ["reach"], "episodes": 5})
PLAN = Finetune(
    spec=Spec(vision=Slot(tune=LastBlocks(blocks=1)), head=Slot(module="flow-matching", weights="random")),
    data=DATA,
    budget=Budget(steps=12, batch=4, warmup_steps=2),
    protocol=PROTOCOL,
)


@pytest.fixture(scope="session")
def share(request: pytest.FixtureRequest) -> float:
    """How much of the full size is tried: 0.02 unless `--faults` says otherwise."""
    return float(request.config.getoption("--faults"))


@pytest.fixture(scope="module", autouse=True)
def server_finds_starts() -> Iterator[None]:
    """The server is given no `sys.path`; without this it would import nothing beforehand, and each start would."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *([before] if before else [])])
    yield
    os.environ.pop("PYTHONPATH")
    os.environ |= {"PYTHONPATH": before} if before else {}


def forked(jobs: Sequence[Job], root: Path) -> multiprocessing.process.BaseProcess:
    process = SERVER.Process(target=work, args=(jobs, root), daemon=True)
    process.start()
    return process


def ended(process: multiprocessing.process.BaseProcess) -> int | None:
    process.join(LONGEST)
    return process.exitcode


def bits(record: Record) -> dict[str, Any]:
    losses = [row["train/loss"] for row in record.log()]
    episodes = [{k: v for k, v in asdict(one).items() if k != "seconds"} for one in record.outcomes()]
    return {"weights": record.result["weights_sha256"], "losses": losses, "episodes": episodes}


def test_killed_at_any_moment_the_same_bits_come_of_it(tmp_path: Path, share: float):
    """200 kills at full size: in collecting, training, playing and between; each start goes on where it can."""
    whole, chance, kills, resumed = tmp_path / "whole", random.Random(0), round(200 * share), 0
    assert ended(forked([], tmp_path)) == 0  # the server is there now
    began = time.monotonic()
    assert ended(forked([DATA, PLAN], whole)) == 0
    seconds, wanted = time.monotonic() - began, bits(open_record(whole, run_id(PLAN)))
    root, number = tmp_path / "killed-0", 0
    while kills:
        process = forked([DATA, PLAN], root)
        process.join(chance.uniform(0, seconds))
        if process.exitcode is None:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            kills -= 1
        if ended(process) == 0:
            record = open_record(root, run_id(PLAN))
            assert bits(record) == wanted
            resumed += len(record.result["resumed"])
            number += 1
            root = tmp_path / f"killed-{number}"
    assert ended(forked([DATA, PLAN], root)) == 0
    record = open_record(root, run_id(PLAN))
    assert bits(record) == wanted
    assert resumed + len(record.result["resumed"]) > 0 or share < 0.1


def test_started_many_times_at_once_each_unit_is_done_once(tmp_path: Path, share: float):
    """100 starts at full size, in one folder, of one collection and six runs."""
    protocols = [PROTOCOL.model_copy(update={"initial_states": count}) for count in range(1, 7)]
    jobs: list[Job] = [DATA, *(Replay(protocol=protocol) for protocol in protocols)]
    processes = [forked(jobs, tmp_path) for _ in range(max(4, round(100 * share)))]
    assert [ended(process) for process in processes] == [0] * len(processes)
    performed = Counter(id for file in tmp_path.glob("performed-*.txt") for id in file.read_text().split())
    assert performed == Counter(job_id(job) for job in jobs)
    assert all(find(tmp_path, job) for job in jobs[1:] if isinstance(job, Replay))


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def longer(data: bytes, chance: random.Random) -> bytes:
    return data + chance.randbytes(chance.randrange(1, 40))


def zeroed(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + bytes(min(512, len(data) - start)) + data[start + 512 :]


DAMAGES: list[Callable[[bytes, random.Random], bytes]] = [cut, flipped, longer, zeroed]


def everything_read(small: SmallRun, root: Path) -> None:
    """All that anyone reads of a finished run: the table, the curves, the weights, the demonstrations."""
    bottleneck(gather(small.study, root))
    curves(small.study, root)
    record = find(root, small.plan)
    assert record is not None
    record.ledger()
    read_weights(record.folder)
    dataset = open_data(root, small.plan.data)
    dataset.frames(range(len(dataset.episodes)))


def test_whatever_is_damaged_is_found_and_named(small_run: SmallRun, tmp_path: Path, share: float):
    """100 damages at full size, spread over every file that a result depends on; films are not among them."""
    root, chance = Path(shutil.copytree(small_run.root, tmp_path / "runs")), random.Random(1)
    everything_read(small_run, root)
    files = sorted(path for path in root.rglob("*") if path.is_file() and "films" not in path.parts)
    for number in range(max(len(files), round(100 * share))):
        path, damage = files[number % len(files)], chance.choice(DAMAGES)
        data = path.read_bytes()
        changed = damage(data, chance)
        if changed == data:
            continue
        path.write_bytes(changed)
        named = (str(path), str(root / small_run.record.id), str(collected_folder(root, DATA).parent))
        with pytest.raises(UserError) as told:
            everything_read(small_run, root)
            pytest.fail(f"{damage.__name__} of {path} was not noticed")
        assert any(name in str(told.value) for name in named), (damage.__name__, str(path), str(told.value))
        path.write_bytes(data)
    everything_read(small_run, root)


def test_damaged_checkpoints_are_refused_and_the_bits_are_the_same(
    tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch
):
    """20 damages at full size, each to the newest checkpoint of a killed training."""

    class Killed(Exception):
        pass

    def report(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("training", 9):
            raise Killed

    monkeypatch.setattr(fit, "Keeper", partial(Keeper, share=1e9, first_seconds=0))
    collect(DATA, collected_folder(tmp_path, DATA))
    execute(PLAN, tmp_path)
    wanted, chance = bits(open_record(tmp_path, run_id(PLAN))), random.Random(2)
    for _ in range(max(2, round(20 * share))):
        with pytest.raises(Killed):
            execute(PLAN, tmp_path, report)
        newest = max((tmp_path / run_id(PLAN) / "checkpoints").iterdir())
        data = newest.read_bytes()
        while (changed := chance.choice(DAMAGES)(data, chance)) == data:  # what was zero is zero
            pass
        newest.write_bytes(changed)
        execute(PLAN, tmp_path)
        record = open_record(tmp_path, run_id(PLAN))
        assert record.result["checkpoints_refused"] == [f"{newest.name}: torn or altered"]
        assert record.result["resumed"] == [7] and bits(record) == wanted
