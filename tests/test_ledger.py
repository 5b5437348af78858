"""The ledger says what happened, and stops a run in which something else happened than was asked for."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.plan import Budget
from workbench.policy import Policy
from workbench.spec import SLOTS, Frozen, LastBlocks, Lora, Slot, SlotName, Spec
from workbench.training.adapt import adapt
from workbench.training.imitate import Batch, imitation_loss
from workbench.training.ledger import WATCHED_STEPS, Audit, Ledger, LedgerBroken, tensor_hash
from workbench.training.train import train

SPEC = Spec(
    vision=Slot(tune=Lora(rank=2)),
    projector=Slot(module="mlp", weights="random"),
    embeddings=Slot(tune=Frozen()),
    language=Slot(tune=LastBlocks(blocks=1)),
    head=Slot(module="chunk-mlp", weights="random"),
)
"""Every kind of tune at once."""
BUDGET = Budget(steps=WATCHED_STEPS, batch=4, warmup_steps=0, chunk=2)


@pytest.fixture(scope="module")
def built() -> tuple[Policy, Backbone]:
    policy, backbone = build(SPEC, 0, chunk=BUDGET.chunk, root=Path())
    adapt(policy, SPEC, seed=0)
    return policy, backbone


@pytest.fixture
def policy(built) -> Policy:
    return copy.deepcopy(built[0])


def one_batch(backbone: Backbone) -> Batch:
    random = np.random.default_rng(0)
    image = torch.from_numpy(random.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8))
    action = torch.from_numpy(random.uniform(-1, 1, (4, BUDGET.chunk, 7)).astype(np.float32))
    words = backbone.tokenize(["reach the red block", "lift the blue block", "put the red block on it", "stack"])
    return Batch(image, words, action, torch.zeros(4, BUDGET.chunk, dtype=torch.bool), (0, 1, 2, 3))


def audited(
    policy: Policy, backbone: Backbone, spec: Spec = SPEC, *, steps: int = BUDGET.steps, meddle: Callable = lambda: None
) -> Ledger:
    """Train a few steps under an audit; `meddle` is called after each backward pass, before the audit looks."""
    audit, batch = Audit(policy, spec), one_batch(backbone)

    def after_backward() -> None:
        meddle()
        audit.after_backward(policy)

    budget = BUDGET.model_copy(update={"steps": steps})
    endless = (batch for _ in iter(int, 1))
    for _ in train(
        policy, endless, loss=lambda b: imitation_loss(policy, b), budget=budget, after_backward=after_backward
    ):
        pass
    return audit.close(policy)


def test_its_counts_are_those_made_by_hand(policy, built):
    """From the configuration's widths alone: nothing here asks the modules."""
    config = built[1].language.base.config
    vision, text, width = config.vision_config, config.text_config, config.text_config.hidden_size
    side, inner = vision.hidden_size, vision.intermediate_size
    block = 4 * (side * side + side) + side * inner + inner + inner * side + side + 4 * side
    patches = (vision.image_size // vision.patch_size) ** 2
    tower = vision.num_hidden_layers * block + 3 * vision.patch_size**2 * side + side + patches * side + 2 * side
    adapters = vision.num_hidden_layers * 2 * (4 * (side + side) + (side + inner) + (inner + side))
    decoder_block = 4 * width * width + 3 * width * text.intermediate_size + 2 * width
    hidden, outputs = 2 * width, BUDGET.chunk * 6
    head = width + 2 * width + (width * hidden + hidden)
    head += (hidden * hidden // 2 + hidden // 2) + (hidden // 2 * outputs + outputs)
    head += (hidden * hidden // 4 + hidden // 4) + (hidden // 4 * BUDGET.chunk + BUDGET.chunk)
    projector = 2 * side + (side * width + width) + (width * width + width)
    expected = {
        "vision": (tower + adapters, adapters),
        "projector": (projector, projector),
        "embeddings": (text.vocab_size * width, 0),
        "language": (text.num_hidden_layers * decoder_block + width, decoder_block),
        "head": (head, head),
    }
    ledger = audited(policy, built[1])
    assert {row.slot: (row.parameters, row.trainable) for row in ledger.rows} == expected
    assert ledger.new_parameters == head + projector
    assert ledger.total_parameters == sum(total for total, _ in expected.values())


def test_hashes_change_exactly_where_something_is_trained(policy, built):
    ledger = audited(policy, built[1])
    assert [row.slot for row in ledger.rows] == list(SLOTS)
    assert {row.slot: row.before != row.after for row in ledger.rows} == {
        "vision": True, "projector": True, "embeddings": False, "language": True, "head": True,
    }  # fmt: skip
    assert {row.slot: row.moved for row in ledger.rows} == {
        "vision": "part", "projector": "full", "embeddings": "frozen", "language": "part", "head": "full",
    }  # fmt: skip
    assert all(row.gradient == row.tensors for row in ledger.rows)
    assert [row.tensors for row in ledger.rows if row.slot == "embeddings"] == [0]


def test_it_says_how_many_image_tokens_there_are(built):
    spec = SPEC.with_slot("projector", SPEC.projector.model_copy(update={"tokens": 4}))
    policy, backbone = build(spec, 0, chunk=BUDGET.chunk, root=Path())
    adapt(policy, spec, seed=0)
    found = audited(policy, backbone, spec).as_json()
    assert (found["encoder_tokens"], found["image_tokens"]) == (policy.vision.card.tokens, 4)


class Experts(nn.Module):
    """As many experts as there are numbers in `chosen`'s range, each a module of its own; one is asked."""

    def __init__(self, width: int):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.chosen: int | None = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.chosen is None else x + self.experts[self.chosen](x)


@pytest.mark.parametrize(("chosen", "dead"), [(1, False), (None, True)])
def test_an_expert_without_tokens_is_no_alarm_and_experts_that_are_never_asked_are(policy, built, chosen, dead):
    policy.projector.layers.append(Experts(policy.language.width))  # type: ignore[operator, union-attr]
    policy.projector.layers[-1].chosen = chosen  # type: ignore[index, union-attr]
    if dead:
        with pytest.raises(LedgerBroken, match=r"no gradient .*experts\.0\.bias"):
            audited(policy, built[1])
    else:
        (row,) = [row for row in audited(policy, built[1]).rows if row.slot == "projector"]
        assert row.tensors - row.gradient == 2 * 2  # two experts, weight and bias


def test_it_repeats_what_was_asked_for_and_is_plain_json(policy, built):
    found = json.loads(json.dumps(audited(policy, built[1]).as_json()))
    assert [row["tune"] for row in found["rows"]] == ["lora", "full", "frozen", "last-blocks", "full"]
    assert [row["module"] for row in found["rows"]] == ["native", "mlp", "native", "native", "chunk-mlp"]
    assert [row["weights"] for row in found["rows"]] == ["pretrained", "random", "pretrained", "pretrained", "random"]
    assert {"slot", "trainable", "parameters", "before", "after", "gradient", "moved"} <= set(found["rows"][0])


class Dead(nn.Module):
    """A linear layer that reads the weight and forgets the adapter: the silent failure of fused projections."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer.base_layer(x)  # type: ignore[operator, union-attr]


@pytest.mark.parametrize("steps", [2, WATCHED_STEPS, WATCHED_STEPS + 1])
def test_an_adapter_that_is_never_called_stops_the_run(policy, built, steps):
    attention = policy.vision.blocks[0].self_attn
    attention.q_proj = Dead(attention.q_proj)  # type: ignore[arg-type]
    with pytest.raises(LedgerBroken, match=r"no gradient after .* steps: .*q_proj\.layer\.lora_A") as broken:
        audited(policy, built[1], steps=steps)
    assert "k_proj" not in str(broken.value)


def test_a_gradient_that_leaks_into_a_frozen_slot_stops_the_run(policy, built):
    def leak() -> None:
        weight = policy.embeddings.weight
        weight.grad = torch.ones_like(weight)  # type: ignore[arg-type]

    with pytest.raises(LedgerBroken, match="frozen parameters have a gradient.*embeddings.weight"):
        audited(policy, built[1], meddle=leak)


def test_a_frozen_slot_that_moved_is_noticed(policy, built):
    def move() -> None:
        with torch.no_grad():
            policy.embeddings.weight.add_(1e-3)  # type: ignore[operator, union-attr]

    with pytest.raises(LedgerBroken, match="'embeddings' is frozen, but its bits say otherwise"):
        audited(policy, built[1], meddle=move)


def test_a_moved_buffer_of_a_frozen_slot_is_noticed(policy, built):
    policy.vision.register_buffer("running", torch.zeros(1))
    frozen = SPEC.with_slot("vision", SPEC.vision.model_copy(update={"tune": Frozen()}))
    adapt(policy, frozen, seed=0)

    def drift() -> None:
        policy.vision.running += 1  # type: ignore[operator]

    with pytest.raises(LedgerBroken, match="'vision' is frozen"):
        audited(policy, built[1], frozen, meddle=drift)


def test_a_trained_slot_that_did_not_move_is_noticed(policy, built):
    audit = Audit(policy, SPEC)
    with pytest.raises(LedgerBroken, match="'vision' is part, but its bits say otherwise"):
        audit.close(policy)


@pytest.mark.parametrize("slot", SLOTS)
def test_a_slot_that_is_not_tuned_as_its_spec_says_stops_the_run(built, slot: SlotName):
    policy = copy.deepcopy(built[0])
    frozen = SPEC
    for name in SLOTS:
        if name != "head":
            frozen = frozen.with_slot(name, frozen.slot(name).model_copy(update={"tune": Frozen()}))
    adapt(policy, frozen, seed=0)
    policy.get_submodule(slot).requires_grad_(slot != "head")
    policy.get_submodule("head").query_E.requires_grad_(True)
    with pytest.raises(LedgerBroken, match=f"'{slot}' was to be tuned"):
        audited(policy, built[1], frozen, steps=1)


def test_a_hash_covers_names_shapes_types_and_bits():
    base = torch.arange(6.0)
    others = [
        [("b", base)], [("a", base.view(2, 3))], [("a", base.double())], [("a", base + torch.eye(6)[0] * 1e-6)],
        [("a", base), ("c", base)], [],
    ]  # fmt: skip
    digests = [tensor_hash([("a", base)]), *(tensor_hash(tensors) for tensors in others)]
    assert len(set(digests)) == len(digests)
    assert tensor_hash([("a", base.view(2, 3).T)]) == tensor_hash([("a", base.view(2, 3).T.contiguous())])
