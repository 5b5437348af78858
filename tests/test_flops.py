"""The floor of a training step: its formulae against torch's counter, what drops out, and what is above it."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from test_slots import folder  # noqa: F401  # a fixture
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ablations.estimate import efforts
from ablations.runs import wanted
from ablations.study_file import read_study
from workbench.actions import Actions
from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.count import step_cost, training_cost
from workbench.plan import Compute
from workbench.policy import Policy
from workbench.spec import SLOTS, Frozen, Full, LastBlocks, Lora, Norms, Slot, SlotName, Spec, Tune
from workbench.training.adapt import adapt
from workbench.training.flops import Work, matmul_rate, required_flops, taken, untouched
from workbench.training.imitate import Batch, imitation_loss
from workbench.training.products import CPU_ATTENTION

B, K = 3, 2
TUNES: dict[str, Tune] = {
    "full": Full(),
    "frozen": Frozen(),
    "lora": Lora(rank=2),
    "dora": Lora(rank=2, dora=True),
    "last": LastBlocks(blocks=1),
    "norms": Norms(),
}
STILL: dict[str, Tune] = {"vision": Frozen(), "projector": Frozen(), "embeddings": Frozen(), "language": Frozen()}


def tuned(backbone: str = "embedded", **tunes: Tune) -> Spec:
    """Random weights; slots that are not named are trained in full."""
    slots = {name: Slot(weights="random", tune=tunes.get(name, Full())) for name in SLOTS}
    slots["head"] = slots["head"].model_copy(update={"module": "chunk-mlp"})
    return Spec.model_validate({"backbone": backbone, **slots})


def made(spec: Spec, device: str = "meta") -> tuple[Policy, Batch]:
    with torch.device(device):
        policy, backbone = build(spec, 0, chunk=K, root=Path())
        adapt(policy, spec, seed=0)
        return policy, batch_of(policy, backbone).to(torch.device(device))


def batch_of(policy: Policy, backbone: Backbone) -> Batch:
    """Noise; the instructions are of different lengths."""
    draw, side = torch.Generator("cpu").manual_seed(0), policy.vision.card.side
    return Batch(
        torch.randint(0, 256, (B, side, side, 3), dtype=torch.uint8, generator=draw, device="cpu"),
        backbone.tokenize(["lift the red block", "lift it", "put the red block on the blue plate"]),
        torch.rand(B, K, 7, generator=draw, device="cpu") * 2 - 1,
        torch.zeros(B, K, dtype=torch.bool, device="cpu"),
        (),
    )


def required(policy: Policy, batch: Batch) -> int:
    return sum(slot.total for slot in required_flops(policy, lambda: imitation_loss(policy, batch)).values())


def executed(policy: Policy, batch: Batch) -> int:
    return taken(lambda: [batch], partial(imitation_loss, policy)).executed


def work(policy: Policy, batch: Batch) -> Work:
    """Gradients are as they were before."""
    with untouched(list(policy.parameters()), []):
        return Work(required(policy, batch), executed(policy, batch))


def counted(policy: Policy, batch: Batch) -> int:
    """What torch's own counter says of forward and backward pass, without what fused attention computes twice."""
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    once = CPU_ATTENTION | {fused: lambda gradient, *factors, **_: 2 * attention(*factors)}
    with FlopCounterMode(display=False, custom_mapping=once) as counter:
        torch.stack(list(imitation_loss(policy, batch).values())).sum().backward()
    return counter.get_total_flops()


def attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object) -> int:
    """Of its two products; the shapes are [B, heads, positions, width]."""
    return 2 * query[0] * query[1] * query[2] * key[2] * (query[3] + value[3])


def test_a_linear_layer_costs_2mkn_three_times_less_what_is_frozen():
    """The embedded projector: m = B · 16 image tokens, k = n = 96."""
    once = 2 * (B * 16) * 96 * 96
    cases = [({}, 1, 1), ({"projector": Frozen()}, 1, 0), ({"vision": Frozen()}, 0, 1)]
    cases += [({"vision": Frozen(), "projector": Frozen()}, 0, 0)]
    for tunes, inputs, weights in cases:
        policy, batch = made(tuned(**tunes))
        cost = required_flops(policy, lambda policy=policy, batch=batch: imitation_loss(policy, batch))["projector"]
        assert (cost.forward, cost.inputs, cost.weights) == (once, inputs * once, weights * once), tunes


def test_the_tower_costs_what_its_formulae_say():
    """A convolution of 3 × 16 × 16 pixels, and three blocks of 12 D² weights and two products of 16 × 16 × D."""
    policy, batch = made(tuned())
    patches = 2 * B * 16 * (3 * 16 * 16) * 96
    layers = 3 * 2 * (B * 16) * 12 * 96 * 96
    attention = 3 * 2 * 2 * B * 16 * 16 * 96
    cost = required_flops(policy, lambda: imitation_loss(policy, batch))["vision"]
    assert cost.forward == patches + layers + attention
    assert cost.weights == patches + layers
    assert cost.inputs == layers + 2 * attention  # pixels have no gradient; each product of attention has two factors


@pytest.mark.parametrize("kind", TUNES)
@pytest.mark.parametrize("slot", ["vision", "language"])
def test_the_floor_is_what_torch_counts_where_every_gradient_is_read(slot: SlotName, kind: str):
    policy, batch = made(tuned(**{slot: TUNES[kind]}))
    assert required(policy, batch) == counted(policy, batch)


@pytest.mark.parametrize("family", ["gemma3", "llava", "kosmos-2"])
@pytest.mark.parametrize("tunes", [{}, {"vision": Frozen()}, {"vision": Lora(rank=2), "language": Norms()}])
def test_so_it_is_for_other_families(folder: Callable[[str], str], family: str, tunes: dict[str, Tune]):  # noqa: F811
    spec = tuned(folder(family), **tunes)
    policy, batch = made(spec, "cpu")
    assert required(policy, batch) == counted(policy, batch) > 10**6


def test_so_it_is_for_experts_in_groups(folder: Callable[[str], str]):  # noqa: F811
    policy, batch = made(tuned(folder("qwen3_vl_moe")), "cpu")
    assert required(policy, batch) == counted(policy, batch) > 10**6


def test_gradients_for_the_querys_sake_alone_are_required_at_its_position_only():
    """Everything below the head frozen, the head trained and its query with it: 1 of L positions."""
    policy, batch = made(tuned(**STILL))
    length = policy.vision.card.tokens + batch.words.mask_BT.shape[1] + 1
    cost = required_flops(policy, lambda: imitation_loss(policy, batch))
    wanted_ones, whole = cost["language"].inputs, counted(policy, batch) - sum(c.total for c in cost.values())
    assert wanted_ones == pytest.approx((whole + wanted_ones) / length)
    assert (cost["vision"].inputs, cost["language"].weights) == (0, 0) and cost["language"].forward > 0


def test_below_the_last_blocks_only_the_query_needs_gradients():
    frozen = STILL | {"language": LastBlocks(blocks=1)}
    policy, batch = made(tuned(**frozen))
    assert 1.2 < counted(policy, batch) / required(policy, batch) < 1.5
    policy, batch = made(tuned(**frozen, head=Frozen()))
    assert counted(policy, batch) == required(policy, batch)


def test_each_slot_is_read_once_a_step():
    policy, batch = made(tuned())
    with FlopCounterMode(display=False) as counter:
        policy(batch.image_BHWC, batch.words)
    parts = required_flops(policy, lambda: imitation_loss(policy, batch))
    with FlopCounterMode(display=False) as alone:
        policy.projector(policy.vision(batch.image_BHWC))
    assert parts["vision"].forward + parts["projector"].forward == alone.get_total_flops()
    assert sum(part.forward for name, part in parts.items() if name != "head") == counter.get_total_flops()


def test_a_step_on_the_cpu_is_counted_with_its_attention():
    """Torch's counter does not know the CPU's kernels: without their formulae a third of them would be missing."""
    spec = tuned(language=Frozen())
    meta, real = made(spec), made(spec, "cpu")
    assert required(*meta) == required(*real)
    fused = executed(*real)
    products = 2 * 2 * B * 96 * 3 * (16**2 + (16 + real[1].words.mask_BT.shape[1] + 1) ** 2)
    assert fused == required(*real) + products // 2  # scores are computed again in the backward pass


def test_checkpointing_is_waste():
    spec = tuned()
    computes = (Compute(gradient_checkpointing=on) for on in (False, True))
    plain, twice = (step_cost(spec, chunk=K, batch=B, actions=Actions(), compute=c).work for c in computes)
    assert plain.required == twice.required and plain.waste < 1.01 and 1.2 < twice.waste < 1.34


def test_counting_a_step_of_a_run_leaves_no_trace_of_it():
    """Statistics of batch norm, dropout's generator, gradients and what a loss moves itself: a teacher."""
    tunes = {"module": "timm:test_resnet.r160_in1k", "weights": "random"}
    lora = Lora(rank=2, dropout=0.5)
    spec = tuned(language=lora).model_copy(
        update={"vision": Slot.model_validate(tunes), "projector": Slot(module="mlp", weights="random")}
    )
    policy, batch = made(spec, "cpu")
    teacher = torch.zeros(3)

    def loss(batch: Batch) -> Mapping[str, Tensor]:
        teacher.add_(1)
        return imitation_loss(policy, batch)

    head = next(policy.head.parameters())
    head.grad = torch.ones_like(head)
    before, generator = copy.deepcopy(policy.state_dict()), torch.get_rng_state()
    with untouched(list(policy.parameters()), [*policy.buffers(), teacher]):
        needed = sum(slot.total for slot in required_flops(policy, lambda: loss(batch)).values())
        assert needed <= taken(lambda: [batch], loss).executed < 1.02 * needed and teacher.sum() > 0
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator) and torch.equal(teacher, torch.zeros(3))
    assert [p for p in policy.parameters() if p.grad is not None] == [head] and head.grad is not None
    assert torch.equal(head.grad, torch.ones_like(head))


def test_a_step_that_is_counted_has_the_gradients_of_one_that_is_not():
    policy, batch = made(tuned(), "cpu")
    torch.stack(list(imitation_loss(policy, batch).values())).sum().backward()
    plain = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    executed(policy, batch)
    found = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
    assert plain.keys() == found.keys() and all(torch.equal(plain[name], found[name]) for name in plain)


def test_no_arm_of_modality_executes_a_twentieth_more_than_it_needs():
    waste = {}
    runs = [run for run in wanted(read_study("modality")) if run.seed == 0]
    for run, effort in zip(runs, efforts(runs), strict=True):
        assert effort is not None
        waste[run.arm] = effort.work.waste
    assert len(waste) == 22
    assert 0.99 < min(waste.values()) and max(waste.values()) <= 1.05, waste


def test_the_rate_of_matrix_products_is_measured_once_and_shortly():
    matmul_rate.cache_clear()
    generator, began = torch.get_rng_state(), time.process_time()
    rate = matmul_rate()
    assert 1e8 < rate < 1e14 and time.process_time() - began < 5
    assert matmul_rate() == rate and torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize("family", ["idefics3", "internvl", "llava_onevision"])
def test_a_model_whose_masks_are_looked_at_is_outlined_too(folder: Callable[[str], str], family: str):  # noqa: F811
    cost = training_cost(tuned(folder(family)), chunk=K, batch=B, actions=Actions())
    assert cost.step_flops > 10**7
