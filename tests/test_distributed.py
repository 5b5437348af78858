"""A run that is computed in pieces, or by several processes, makes the same steps as one that is not."""

import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import alive, children, until
from pydantic import ValidationError
from second_process import talk
from test_fit import bits
from torch import nn

from workbench import provenance
from workbench.benchmarks.contract import Protocol
from workbench.collect import collect
from workbench.errors import NotFinite, UserError
from workbench.execute import execute
from workbench.plan import Budget, Compute, Finetune, Inject, run_id
from workbench.recipes import Expert
from workbench.record import Record, collected_folder, open_record
from workbench.spec import Frozen, LastBlocks, Lora, Slot, Spec
from workbench.training import distributed, fit, group
from workbench.training.checkpoint import Keeper
from workbench.training.distributed import HERE, hired
from workbench.training.group import ALONE, ProcessLost
from workbench.training.pieces import Divided, InPieces, Piece
from workbench.training.train import Training
from workbench.weights import read_weights

DATA = Expert(tasks=("reach",), episodes=4)
BUDGET = Budget(steps=10, batch=5, warmup_steps=3, learning_rate=3e-4)
PROTOCOL = Protocol.model_validate({"tasks": ["reach"], "initial_states": 1})
HEAD = Slot(module="flow-matching", weights="random")
REGRESSION, FLOW, DROPOUT = "a regression on a frozen encoder", "a flow, all trained", "dropout"
SPECS = {
    REGRESSION: Spec(vision=Slot(tune=Frozen())),
    FLOW: Spec(head=HEAD),
    DROPOUT: Spec(
        vision=Slot(tune=LastBlocks(blocks=1)),
        embeddings=Slot(tune=Frozen()),
        language=Slot(tune=Lora(rank=2, dropout=0.3)),
        head=HEAD,
    ),
}


def plan_of(name: str, *, accumulate: int = 1, processes: int = 1) -> Finetune:
    compute = Compute(device="cpu", accumulate=accumulate, processes=processes)
    return Finetune(spec=SPECS[name], data=DATA, budget=BUDGET, protocol=PROTOCOL, compute=compute)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    collect(DATA, collected_folder(root, DATA))
    return root


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A root with the same demonstrations and no runs."""
    shutil.copytree(collected_folder(root, DATA), collected_folder(tmp_path, DATA))
    return tmp_path


def done(plan: Finetune, root: Path) -> Record:
    """Carried out, unless it was before."""
    if not (root / run_id(plan) / "result.json").is_file():
        execute(plan, root)
    return open_record(root, run_id(plan))


def followers(pid: int) -> list[int]:
    """The other processes of the run that process `pid` executes."""
    command = "\0".join(distributed.COMMAND).encode()
    return [child for child in children(pid) if command in Path(f"/proc/{child}/cmdline").read_bytes()]


def assert_same_steps(one: Record, other: Record) -> None:
    assert one.error is None and other.error is None
    assert one.log()[-1]["train/loss"] < one.log()[0]["train/loss"]
    for mine, theirs in zip(one.log(), other.log(), strict=True):
        assert theirs["train/loss"] == pytest.approx(mine["train/loss"], abs=1e-6)
        assert theirs["train/grad_norm"] == pytest.approx(mine["train/grad_norm"], rel=1e-4)
        assert set(theirs) == set(mine)
    weights = read_weights(other.folder)
    for name, tensor in read_weights(one.folder).items():
        if name.endswith("k_proj.bias"):  # a softmax does not see it: its gradient is rounding alone, which Adam scales
            continue
        torch.testing.assert_close(weights[name], tensor, atol=1e-5, rtol=0, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [REGRESSION, FLOW])
def test_a_batch_in_pieces_is_the_same_step(root: Path, name: str):
    assert_same_steps(done(plan_of(name), root), done(plan_of(name, accumulate=3), root))


@pytest.mark.slow
def test_two_processes_make_the_same_steps_as_one_and_those_of_two_pieces_bit_for_bit(root: Path):
    two = done(plan_of(FLOW, processes=2), root)
    assert followers(os.getpid()) == []
    assert_same_steps(done(plan_of(FLOW), root), two)
    assert bits(two) == bits(done(plan_of(FLOW, accumulate=2), root))


def executed(plan: Finetune, root: Path, report: Callable[[str, int, int], None] = lambda *told: None) -> None:
    """With a checkpoint after each step; can be called in a new process, and while somebody commits something."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "revision", lambda: "0123456789ab")
        patch.setattr(fit, "Keeper", partial(Keeper, share=1e9, first_seconds=0))
        execute(plan, root, report)


def kill_others(stage: str, done: int, total: int) -> None:
    if (stage, done) == ("training", 7):
        for pid in followers(os.getpid()):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_run_that_lost_its_processes_goes_on_in_two_or_in_one_to_the_same_bits(root: Path, copy: Path):
    """Layers drop out all along. First both processes end at kill -9 of the first one, then the second one is killed;
    what they left is taken up by one process that computes two pieces."""
    two, one = plan_of(DROPOUT, processes=2), plan_of(DROPOUT, accumulate=2)
    first = multiprocessing.get_context("spawn").Process(target=executed, args=(two, copy), daemon=True)
    first.start()
    assert first.pid and until(lambda: len(read(copy / run_id(two) / "log.jsonl")) >= 3, seconds=120)
    [second] = followers(first.pid)
    first.kill()
    assert until(lambda: not alive(second))
    with pytest.raises(ProcessLost, match=r"Process 1 ended with exit code -9\. Start again"):
        executed(two, copy, kill_others)
    assert followers(os.getpid()) == [] and not (copy / run_id(two) / "result.json").exists()
    (copy / run_id(two)).rename(copy / run_id(one))
    executed(one, copy)
    again = open_record(copy, run_id(one))
    assert len(again.result["resumed"]) == 2 and 2 <= again.result["resumed"][0] < again.result["resumed"][1] <= 7
    assert again.result["processes"] == [2, 2, 1]
    assert again.result["checkpoints_refused"] == [] and bits(again) == bits(done(one, root))


def read(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.is_file() else []


@pytest.mark.slow
def test_gradients_are_summed_and_a_process_that_falls_silent_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(group, "PATIENCE", timedelta(seconds=5))
    monkeypatch.setattr(distributed, "COMMAND", ("-P", "-c", "import second_process; second_process.main()"))
    heard: Any = None
    with pytest.raises(ProcessLost, match="None of them ended"), hired(plan_of(FLOW, processes=2), tmp_path) as both:
        heard = talk(both)
        both.told("silence follows, but this is only sent")
        both.agree("and this is never answered", "nothing")
    figures, gradients, told, refused = heard
    assert figures == {"arm": 0.5, "gripper": 1.0} and told == {"from": 0}
    assert gradients == [[[3.0, 3.0], [3.0, 3.0]], [30.0], [100.0, 100.0], [1000.0], None]
    assert refused == "the processes that compute this run differ in their rank: [0, 1]"
    assert followers(os.getpid()) == []


def test_a_process_that_does_not_start_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(distributed, "COMMAND", ("-c", "raise SystemExit('no room')"))
    wanted = r"A process of this run did not start. Process 1 ended with exit code 1 \(no room\). Start again"
    with pytest.raises(ProcessLost, match=wanted), hired(plan_of(FLOW, processes=2), tmp_path):
        raise AssertionError("the block is not entered")


@pytest.mark.slow
def test_a_process_that_waits_for_others_ends_with_the_first_one(tmp_path: Path):
    """Its line is closed, as by the end of the first process, while it waits for that one to join."""
    plan = plan_of(FLOW, processes=2)
    orders = {"plan": plan.model_dump(mode="json"), "root": str(tmp_path), "kind": "cpu", "rank": 1}
    command = [sys.executable, *distributed.COMMAND]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps({**orders, "meeting": str(tmp_path / "meeting")}).encode() + b"\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == HERE.encode()
        process.stdin.close()
        assert process.wait(30) == 1


def test_each_piece_drops_out_by_its_own_seed_and_leaves_the_generator_alone():
    model, seen = nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 1, bias=False)), list[torch.Tensor]()

    def loss(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(model[0](batch))
        return {"sum": model[1](seen[-1]).sum()}

    pieces = tuple(Piece(torch.ones(1, 64), share, seed) for share, seed in ((0.25, 1), (0.75, 2), (0.0, 1)))
    before = torch.get_rng_state()
    found = InPieces(model, ALONE, [])(Divided(pieces, (0, 1, 2)), loss)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(seen[0], seen[2]) and not torch.equal(seen[0], seen[1])
    torch.testing.assert_close(model[1].weight.grad, 0.25 * seen[0] + 0.75 * seen[1])
    expected = 0.25 * model[1](seen[0]) + 0.75 * model[1](seen[1])
    assert found.loss == found.parts["sum"] == pytest.approx(float(expected.detach()), abs=1e-6)


def test_a_loss_that_is_not_finite_in_one_piece_ends_the_run_before_its_step():
    model = nn.Linear(1, 1)
    before = model.weight.detach().clone()
    pieces = tuple(Piece(torch.full((1, 1), value), 0.5, 0) for value in (1.0, math.nan))
    training = Training(model, budget=Budget(steps=1), compute=InPieces(model, ALONE, []))
    with pytest.raises(NotFinite, match=r"loss is not finite at step 0: .*frames=\(7, 8\)"):
        list(training.steps([Divided(pieces, (7, 8))], lambda batch: {"sum": model(batch).sum()}))
    assert torch.equal(model.weight, before)


def test_batch_normalisation_in_training_is_not_divided():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with pytest.raises(UserError, match="have to be 1 for this model: 1 is a batch normalisation"):
        InPieces(model, ALONE, [])
    InPieces(model.eval(), ALONE, [])


def test_processes_need_a_gpu_each(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in distributed._surroundings("cuda", 2)] == ["4", "6"]
    with pytest.raises(UserError, match="compute.processes is 3, each with a GPU of its own, but torch sees 2"):
        distributed._surroundings("cuda", 3)


def test_what_cannot_be_divided_is_refused_when_it_is_planned():
    with pytest.raises(ValidationError, match=r"is 8, but a batch has only 5 rows"):
        plan_of(DROPOUT, accumulate=4, processes=2)
    inject = {"spec": Spec(), "data": Expert(tasks=("reach",), split="injection"), "budget": BUDGET}
    for compute in (Compute(accumulate=2), Compute(processes=2)):
        with pytest.raises(ValidationError, match="an injection computes each batch whole"):
            Inject.model_validate({**inject, "compute": compute})
    for more in ({"device": "cuda:1"}, {"device_map": {"language": "cuda:1"}}):
        with pytest.raises(ValidationError, match="processes is 2, and each has a GPU of its own"):
            Compute.model_validate({"processes": 2, **more})
