"""A run whose tensors are spread over processes makes the steps of one that has them all, and goes on in any number.

Two real processes do all of it once; what they do is in tests/sharded_process.py.
"""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import sharded_process
import torch
from processes import children
from pydantic import ValidationError
from sharded_process import ADAPTED, DATA, FULL, INTERRUPTED, Trained, copied, interrupted, plan_of, train
from torch import Tensor

from workbench.collect import collect
from workbench.engines.means import Means
from workbench.engines.registry import engine
from workbench.errors import UserError
from workbench.launch import launched
from workbench.plan import Compute, Finetune, Inject, run_id
from workbench.player import player_of
from workbench.recipes import Expert
from workbench.record import collected_folder, open_record
from workbench.spec import Spec
from workbench.training import distributed
from workbench.training.checkpoint import Keeper
from workbench.training.distributed import hired
from workbench.training.group import ALONE, ProcessLost
from workbench.training.shard_files import ShardFiles
from workbench.training.sharding import check_always_used
from workbench.training.together import gathered

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Pair:
    """What came of the two processes. `root` has the demonstrations, and the folder of each training by its name."""

    root: Path
    found: Mapping[str, Trained | None]
    clipped: tuple[float, list[list[float]]]
    lost: str

    def of(self, name: str) -> Trained:
        found = self.found[name]
        assert found is not None
        return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    root = tmp_path_factory.mktemp("runs")
    collect(DATA, collected_folder(root, DATA))
    plan, alone = plan_of(ADAPTED, processes=2), root / "alone"
    train(plan, alone, ALONE, partial(copied, alone), kept=True)

    def kill_the_other(done: int) -> None:
        for pid in children(os.getpid()):
            if b"sharded_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)

    clipped, found = (0.0, list[list[float]]()), dict[str, Trained | None]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "COMMAND", ("-P", "-c", "import sharded_process; sharded_process.main()"))
        with pytest.raises(ProcessLost) as told, hired(plan, root) as both:
            clipped = sharded_process.clipped(both)
            found = sharded_process.together(root, both)
            train(plan_of(FULL, processes=2), root / "lost", both, kill_the_other)
    return Pair(root, found, clipped, str(told.value))


def of_one(pair: Pair, name: str, **more: str) -> Trained:
    """The same by one process that has everything."""
    found = train(plan_of(name, processes=1, **more), pair.root / f"{name} {more} by one", ALONE)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def adapted(pair: Pair) -> Trained:
    return of_one(pair, ADAPTED)


def assert_same_steps(one: Trained, other: Trained) -> None:
    assert one.fitted.losses == pytest.approx(other.fitted.losses, abs=1e-6)
    for mine, theirs in zip(one.log, other.log, strict=True):
        assert mine["train/grad_norm"] == pytest.approx(theirs["train/grad_norm"], rel=1e-4)
    assert one.weights.keys() == other.weights.keys()
    for name, tensor in one.weights.items():
        if not name.endswith("k_proj.bias"):  # a softmax does not see it: its gradient is rounding alone
            torch.testing.assert_close(tensor, other.weights[name], atol=1e-5, rtol=0, msg=name)


@pytest.mark.slow
def test_sharded_tensors_make_the_same_steps_as_whole_ones(pair: Pair, adapted: Trained):
    """A process has half of all numbers, but all of a frozen encoder's."""
    full = of_one(pair, FULL)
    assert_same_steps(pair.of(FULL), full)
    assert full.fitted.losses[-1] < full.fitted.losses[0]
    assert_same_steps(pair.of(ADAPTED), adapted)
    assert pair.of(FULL).held == pytest.approx(0.5, abs=0.02) and full.held == adapted.held == 1.0
    vision, *others = (row["parameters"] for row in adapted.ledger["rows"])
    assert pair.of(ADAPTED).held == pytest.approx((vision + sum(others) / 2) / (vision + sum(others)), abs=0.02)


@pytest.mark.slow
def test_the_ledger_of_a_sharded_run_says_what_really_happened_to_whole_tensors(pair: Pair, adapted: Trained):
    mine, theirs = pair.of(ADAPTED).ledger, adapted.ledger
    assert [row["after"] != row["before"] for row in mine["rows"]] == [False, True, False, True, True]
    assert [{**row, "after": ""} for row in mine["rows"]] == [{**row, "after": ""} for row in theirs["rows"]]
    assert {**mine, "rows": []} == {**theirs, "rows": []}


@pytest.mark.slow
def test_gradients_are_clipped_by_the_norm_over_sharded_and_whole_tensors(pair: Pair):
    norm, (first, second, whole) = pair.clipped
    assert norm == pytest.approx(30**0.5)
    left = [grad * 0.5 / 30**0.5 for grad in (1.0, 2.0, 3.0, 4.0)]
    assert [*first, *second, *whole] == pytest.approx(left, rel=1e-5) and (len(first), len(second)) == (2, 1)


def assert_same_bits(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.slow
def test_what_two_processes_left_two_go_on_with_to_the_same_bits(pair: Pair):
    again, whole = pair.of("two after two"), pair.of(ADAPTED)
    assert again.fitted.resumed == [INTERRUPTED - 1] and again.fitted.processes == [2, 2]
    assert again.fitted.losses == whole.fitted.losses and again.ledger == whole.ledger
    assert_same_bits(again.weights, whole.weights)


def kept_by(folder: Path) -> list[Path]:
    """Its checkpoints, the oldest first."""
    return sorted((folder / "checkpoints").iterdir())


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.slow
def test_what_two_processes_left_one_goes_on_with_from_the_newest_of_which_all_shards_are_whole(
    pair: Pair, adapted: Trained
):
    left = Path(shutil.copytree(interrupted(pair.root / ADAPTED), pair.root / "one after two"))
    newest = kept_by(left)[-1]
    flip_a_bit(newest / "shard-00002-model-00001-of-00001.safetensors")
    one = train(plan_of(ADAPTED, processes=2), left, ALONE)
    assert one and one.fitted.resumed == [INTERRUPTED - 2] and one.fitted.processes == [2, 1]
    [refused] = one.fitted.refused
    assert refused == f"{newest.name}: its file shard-00002-model-00001-of-00001.safetensors is torn or altered"
    assert_same_steps(one, adapted)


@pytest.mark.slow
def test_what_one_process_left_two_go_on_with(pair: Pair, adapted: Trained):
    two = pair.of("two after one")
    assert two.fitted.resumed == [INTERRUPTED - 1] and two.fitted.processes == [1, 2]
    assert_same_steps(two, adapted)


def torn(checkpoint: Path) -> None:
    shard = checkpoint / "shard-00001-model-00001-of-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])


def lost(checkpoint: Path) -> None:
    (checkpoint / "shard-00002-model-00001-of-00001.safetensors").unlink()


def sealed_anew(checkpoint: Path) -> None:
    (checkpoint / "seal.json").write_text((checkpoint / "seal.json").read_text().replace("shard-00002", "shard-00001"))


def unsealed(checkpoint: Path) -> None:
    (checkpoint / "seal.json").unlink()


def joined_by_a_stranger(checkpoint: Path) -> None:
    shutil.copy(checkpoint / "shard-00001-model-00001-of-00001.safetensors", checkpoint / "a.safetensors")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (torn, "its file shard-00001-model-00001-of-00001.safetensors is torn or altered"),
        (lost, "its file shard-00002-model-00001-of-00001.safetensors is torn or altered"),
        (sealed_anew, "torn or altered"),
        (unsealed, "torn or altered"),
        (joined_by_a_stranger, "a.safetensors is none of its files"),
    ],
)
def test_a_damaged_shard_is_named_and_the_checkpoint_before_it_is_used(
    pair: Pair, tmp_path: Path, damage: Callable[[Path], None], why: str
):
    left = Path(shutil.copytree(interrupted(pair.root / ADAPTED), tmp_path / "left"))
    older, newest = kept_by(left)
    damage(newest)
    keeper = Keeper(left)
    found = keeper.latest(lambda found: "")
    assert found is not None and found.path == older and found.step == INTERRUPTED - 2
    assert keeper.refused == [f"{newest.name}: {why}"] and not newest.exists()


def keep(keeper: Keeper, step: int, size: int) -> None:
    keeper.room()
    keeper.keep_shards(step, {}, write=partial(ShardFiles(ALONE).write, {"module.weight": torch.ones(size)}))


def test_a_full_disk_is_told_and_the_shards_that_were_kept_stay(tiny_disk: Path):
    keeper = Keeper(tiny_disk)
    keep(keeper, 1, size=100)
    with pytest.raises(OSError) as told:
        keep(keeper, 2, size=1_000_000)
    assert told.value.errno == errno.ENOSPC
    found = Keeper(tiny_disk).latest(lambda found: "")
    assert found is not None and found.step == 1
    keep(keeper, 3, size=10)  # what was left half written is no more in the way
    assert [each.name[:8] for each in kept_by(tiny_disk)] == ["00000001", "00000003"]


@pytest.mark.slow
def test_a_process_that_dies_while_tensors_are_sharded_is_told(pair: Pair):
    assert "A process of this run is gone" in pair.lost
    assert re.search(r"Process 1 ended with exit code -9( \(.*\))?\. Start again", pair.lost)


@pytest.mark.slow
def test_processes_that_torchrun_started_compute_a_run_whose_record_is_like_any_other(pair: Pair, tmp_path: Path):
    """In bfloat16: the same steps as one process makes, up to its rounding."""
    plan = plan_of(ADAPTED, processes=2, dtype="bfloat16")
    shutil.copytree(collected_folder(pair.root, DATA), collected_folder(tmp_path, DATA))
    program = [HERE / "sharded_process.py", plan.model_dump_json(), tmp_path]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    done = subprocess.run([*torchrun, *program], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    record = open_record(tmp_path, run_id(plan))
    assert record.error is None and record.result["processes"] == [2] and len(record.outcomes()) == 1
    one = of_one(pair, ADAPTED, dtype="bfloat16")
    assert [row["train/loss"] for row in record.log()] == pytest.approx(one.fitted.losses, rel=5e-3)
    policy = player_of(record).policy.state_dict()
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in policy.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in one.weights.items()
    }


ENVIRONMENT = {
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_RESTART_COUNT": "1",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "elsewhere",
    "MASTER_PORT": "29500",
}


def test_what_torchrun_tells_is_understood_and_refused_where_it_cannot_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert launched() is None
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    found = launched()
    assert found is not None and (found.rank, found.size, found.alone) == (3, 4, False)
    plan = plan_of(ADAPTED, processes=2)
    wanted = "torchrun started 4 processes, but compute.processes × compute.accumulate is 2"
    with pytest.raises(UserError, match=wanted), gathered(plan, tmp_path, found):
        raise AssertionError("the block is not entered")
    whole = plan.model_copy(update={"compute": Compute()})
    with gathered(whole, tmp_path, found) as group:
        assert group == ALONE
    for means in (Means("local", 2), Means("ray")):
        with pytest.raises(UserError, match="compute one run at a time"):
            engine(means)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")
    with pytest.raises(UserError, match="not to share its store"):
        launched()


def test_what_cannot_be_sharded_is_refused():
    plan = plan_of(FULL, processes=2)
    with pytest.raises(ValidationError, match=r"compute.sharding is 'full', but compute.processes is 1"):
        Finetune.model_validate({**dict(plan), "compute": Compute(sharding="full")})
    with pytest.raises(ValidationError, match="and sharding out"):
        data, budget = Expert(tasks=("reach",), split="injection"), plan.budget
        Inject(spec=Spec(), data=data, budget=budget, compute=Compute(sharding="full"))
    with pytest.raises(UserError, match=r"language\.block\.experts\.0\.weight is of an expert in a module of its own"):
        check_always_used(["language.block.experts.weight", "language.block.experts.0.weight"])
