"""Memory of training: what is foretold is taken, what is recorded is of this run, and what is frozen keeps nothing."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from mmap import PAGESIZE, mmap
from pathlib import Path

import pytest
import torch
from allocated import most_allocated
from conftest import SmallRun
from test_flops import STILL, batch_of, tuned, work
from test_slots import folder  # noqa: F401  # a fixture
from torch.autograd.graph import saved_tensors_hooks

from ablations.estimate import efforts
from ablations.runs import wanted
from workbench.actions import Actions
from workbench.backbones.contract import Words
from workbench.benchmarks.contract import Protocol
from workbench.build import build
from workbench.compute import place
from workbench.count import StepCost, step_cost
from workbench.execute import execute
from workbench.peak import forget_peak, peak_mib
from workbench.plan import Budget, Compute, Replay, run_id
from workbench.policy import Policy
from workbench.record import open_record
from workbench.spec import SLOTS, Frozen, LastBlocks, Lora, SlotName, Spec, Tune
from workbench.training.adapt import adapt
from workbench.training.effort import first_step
from workbench.training.flops import required_flops, taken
from workbench.training.imitate import Batch, imitation_loss
from workbench.training.ledger import tensor_hash
from workbench.training.memory import Watch, adamw_bytes, held, weights_of
from workbench.training.ready import ready
from workbench.training.train import Training

B, K = 3, 2
MIXED: dict[str, Tune] = {"vision": Frozen(), "language": Lora(rank=2)}
FAMILIES = ("embedded", "gemma3", "qwen3_vl")


def opened(spec: Spec, compute: Compute = Compute()) -> tuple[Policy, Batch]:  # noqa: B008
    """A policy as a run has it on the CPU, and a batch of one instruction."""
    policy, backbone = build(spec, 0, chunk=K, root=Path(), compute=compute)
    adapt(policy, spec, seed=0)
    place(compute).settle(policy)
    words = backbone.tokenize(["reach the red block"] * B)
    return policy, replace(batch_of(policy, backbone), words=Words(words.ids_BT, words.mask_BT))


def foretold(spec: Spec, compute: Compute = Compute()) -> StepCost:  # noqa: B008
    return step_cost(spec, chunk=K, batch=B, actions=Actions(), compute=compute)


def loss_of(policy: Policy, compute: Compute) -> Callable[[Batch], Mapping[str, torch.Tensor]]:
    def loss(batch: Batch) -> Mapping[str, torch.Tensor]:
        with place(compute).autocast():
            return imitation_loss(policy, batch)

    return loss


def trained(policy: Policy, batch: Batch, compute: Compute = Compute()) -> Training:  # noqa: B008
    """After two steps: what the optimiser keeps is there in the second one."""
    training = Training(policy, budget=Budget(steps=2, batch=B, warmup_steps=0))
    assert len(list(training.steps(iter([batch, batch]), loss_of(policy, compute)))) == 2
    return training


@pytest.mark.parametrize(
    ("family", "tunes", "compute"),
    [
        ("embedded", {"language": LastBlocks(blocks=1)}, Compute(gradient_checkpointing=True, dtype="bfloat16")),
        ("qwen2_5_vl", MIXED, Compute()),
        ("qwen3_vl_moe", STILL, Compute()),
    ],
)
def test_what_is_foretold_is_what_a_step_computes_and_torchs_allocator_gives(
    folder: Callable[[str], str],  # noqa: F811
    family: str,
    tunes: dict[str, Tune],
    compute: Compute,
):
    """Also where shapes depend on numbers: the grid of an image, the places of its tokens, the experts of a token."""
    spec = tuned(folder(family), **tunes)
    found = foretold(spec, compute)
    policy, batch = opened(spec, compute)
    with place(compute).autocast():
        assert found.work == work(policy, batch)
    memory, weights = found.memory, weights_of(policy)
    taken = weights + most_allocated(lambda: trained(policy, batch, compute))
    assert memory.peak == pytest.approx(taken, rel=0.15)
    assert (memory.weights, memory.optimiser) == (weights, adamw_bytes(policy))
    assert memory.step == pytest.approx(taken - weights - memory.optimiser, rel=0.15)


def kept_for_backward(policy: Policy, batch: Batch) -> dict[SlotName, int]:
    """Bytes that each slot's forward pass keeps, beside weights, as autograd is asked to keep them."""
    slot: SlotName = "head"
    weights = {tensor.untyped_storage()._cdata for tensor in [*policy.parameters(), *policy.buffers()]}
    kept: dict[SlotName, dict[int, torch.UntypedStorage]] = {name: {} for name in SLOTS}

    def enter(name: SlotName, *_: object) -> None:
        nonlocal slot
        slot = name

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[slot][storage._cdata] = storage
        return tensor

    for name in SLOTS[:-1]:
        policy.get_submodule(name).register_forward_pre_hook(partial(enter, name))
        policy.get_submodule(name).register_forward_hook(partial(enter, "head"))
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        imitation_loss(policy, batch)
    return {name: sum(storage.nbytes() for storage in found.values()) for name, found in kept.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_slot_keeps_nothing_for_a_backward_pass(folder: Callable[[str], str], family: str):  # noqa: F811
    """Below a trained slot; one above it hands gradients on, and keeps what that takes."""
    whole = kept_for_backward(*opened(tuned(folder(family))))
    assert min(whole.values()) > 0
    below = kept_for_backward(*opened(tuned(folder(family), vision=Frozen(), embeddings=Frozen())))
    assert (below["vision"], below["embeddings"]) == (0, 0) and below["language"] == whole["language"]
    above = kept_for_backward(*opened(tuned(folder(family), language=Frozen())))
    assert 0 < above["language"] < 0.8 * whole["language"] and above["vision"] == whole["vision"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_language_model_keeps_nothing_but_for_the_query(folder: Callable[[str], str], family: str):  # noqa: F811
    """The query is the head's and stands below it. Where it is frozen too, nothing is kept."""
    query = kept_for_backward(*opened(tuned(folder(family), **STILL)))
    whole = kept_for_backward(*opened(tuned(folder(family), language=Frozen())))
    assert [query[name] for name in SLOTS[:3]] == [0, 0, 0] and 0 < query["language"] < 0.2 * whole["language"]
    still = kept_for_backward(*opened(tuned(folder(family), **STILL, head=Lora(rank=2))))
    assert [still[name] for name in SLOTS[:4]] == [0, 0, 0, 0] and still["head"] > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_frozen_has_neither_gradients_nor_optimiser_state(folder: Callable[[str], str], family: str):  # noqa: F811
    policy, batch = opened(tuned(folder(family), **MIXED))
    training = trained(policy, batch)
    moving = {name: p for name, p in policy.named_parameters() if p.requires_grad}
    assert {name for name, p in policy.named_parameters() if p.grad is not None} == moving.keys()
    state = training.state()
    assert {name.rpartition(".")[0] for name in state} == moving.keys()
    assert held(state.values()) == adamw_bytes(policy) < 0.9 * 2 * weights_of(policy)


def test_counting_operations_keeps_nothing_for_a_backward_pass():
    """Not even where the sequence is counted as a whole and training reads its prefix once."""
    policy, batch = opened(tuned())
    with Watch() as step:
        required_flops(policy, lambda: imitation_loss(policy, batch))
    with Watch() as plain, torch.no_grad():
        imitation_loss(policy, batch)
    assert step.peak < 1.3 * plain.peak


def test_a_watch_counts_storages_while_something_holds_them():
    there = torch.zeros(1000)
    with Watch() as watch:
        made = there + 1
        view, same = made[:10], made.mul_(2)
        there.view(10, 100).add_(1)
        assert (watch.now, watch.peak) == (4000, 4000)
        del made, same
        assert watch.now == 4000  # a view holds it all
        del view
        assert watch.now == 0
        with_gradient = there.requires_grad_()
        kept = with_gradient.exp()
        loss = kept.sum()
        del kept
        assert watch.now == 4000 + loss.nbytes  # autograd holds it
        loss.backward()
        del loss
        assert watch.now == 4000 and there.grad is not None  # the gradient
        there.grad = None
    with watch:
        again = there.detach() * 2
    assert watch.now == again.nbytes and watch.peak < 13_000
    with Watch("cuda") as elsewhere:
        torch.zeros(10)
    assert elsewhere.peak == 0


def test_of_a_batch_in_pieces_one_is_foretold_beside_the_gradients_of_others():
    spec = tuned(vision=Frozen(), language=Frozen())
    found = foretold(spec, Compute(accumulate=B)).memory
    policy, batch = opened(spec)
    words = Words(batch.words.ids_BT[:1], batch.words.mask_BT[:1])
    row = Batch(batch.image_BHWC[:1], words, batch.action_BKA[:1], batch.padded_BK[:1], ())  # type: ignore[index]

    def held_by(rows: list[Batch]) -> int:
        policy.zero_grad()
        return taken(lambda: rows, loss_of(policy, Compute())).held

    assert found.step == pytest.approx(held_by([row] * B), rel=0.05)
    assert held_by([row]) < 0.95 * found.step and found.step < 0.95 * held_by([batch])
    assert (found.weights, found.optimiser) == (weights_of(policy), adamw_bytes(policy))


def test_a_run_records_the_peak_that_was_foretold(small_run: SmallRun):
    result = small_run.record.result
    [effort] = efforts([run for run in wanted(small_run.study) if run.plan == small_run.plan])
    assert effort is not None and effort.memory is not None
    assert result["training_peak_bytes"] == pytest.approx(effort.memory.peak, rel=0.02)
    parts, foretold = result["training_bytes_of"], vars(effort.memory)
    assert sum(parts.values()) == result["training_peak_bytes"]
    assert (parts["weights"], parts["optimiser"]) == (foretold["weights"], foretold["optimiser"])
    rows = small_run.record.ledger()["rows"]
    moments, tensors = 2 * 4 * sum(row["trainable"] for row in rows), sum(row["tensors"] for row in rows)
    assert parts["optimiser"] == moments + 4 * tensors
    assert result["process_peak_mib"] > result["training_peak_bytes"] / 2**20


def test_a_run_in_pieces_is_measured_and_leaves_no_trace(small_run: SmallRun, tmp_path: Path):
    root = shutil.copytree(small_run.root, tmp_path / "runs")
    plan = small_run.plan.model_copy(update={"compute": Compute(accumulate=4)})
    start = ready(plan, root)
    before, generator = tensor_hash(start.policy.state_dict().items()), torch.get_rng_state()
    step = first_step(plan, start)
    whole = small_run.record.result["training_bytes_of"]["step"]
    assert step.work is None and step.held is not None
    assert held(start.policy.parameters()) < step.held < 0.8 * whole
    assert tensor_hash(start.policy.state_dict().items()) == before
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(parameter.grad is None for parameter in start.policy.parameters())


def take_and_give_back() -> None:
    """256 MiB, from the kernel and to it: an allocator may keep what it is given back."""
    with mmap(-1, 2**28) as large:
        for page in range(0, 2**28, PAGESIZE):
            large[page] = 1


def test_a_process_forgets_the_peak_of_an_earlier_run():
    """A worker executes several, one after the other."""
    assert forget_peak()
    before = peak_mib()
    take_and_give_back()
    assert peak_mib() >= before + 200
    assert forget_peak() and peak_mib() < before + 100


def test_the_peak_of_a_run_is_not_that_of_what_its_process_did_before(tmp_path: Path):
    take_and_give_back()
    before, plan = peak_mib(), Replay(protocol=Protocol.model_validate({"tasks": ["reach"], "initial_states": 1}))
    execute(plan, tmp_path)
    assert 50 < open_record(tmp_path, run_id(plan)).result["process_peak_mib"] < before - 100


def test_a_peak_that_cannot_be_forgotten_is_not_told(tmp_path: Path):
    assert not forget_peak(tmp_path / "no process")
