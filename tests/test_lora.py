"""Low-rank updates: where they go, what they start as, and what cannot have them."""

import copy
from pathlib import Path

import pytest
import torch
from test_adapt import BUDGET, batches, bits, tuned
from tiny_vlms import make

from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.errors import UserError
from workbench.policy import Policy
from workbench.spec import Lora, Slot, SlotName, Spec
from workbench.training.adapt import adapt


@pytest.fixture(scope="module")
def built() -> tuple[Policy, Backbone]:
    return build(Spec(), 0, chunk=BUDGET.chunk, root=Path())


def test_lora_starts_at_the_base_models_function_and_reaches_one_slot_only(built):
    batch = next(batches(built[1]))
    policy = tuned(built, "language", Lora(rank=2))
    with torch.no_grad():
        expected = built[0].eval()(batch.image_BHWC, batch.words)
        found = policy.eval()(batch.image_BHWC, batch.words)
    torch.testing.assert_close(found.hidden_BE, expected.hidden_BE, rtol=0, atol=0)
    assert {name.split(".")[0] for name, _ in policy.named_parameters() if ".lora_" in name} == {"language"}


def test_dora_starts_at_the_base_models_function_up_to_rounding(built):
    batch = next(batches(built[1]))
    policy = tuned(built, "vision", Lora(rank=2, dora=True))
    with torch.no_grad():
        expected = built[0].eval()(batch.image_BHWC, batch.words).seen_BND
        found = policy.eval()(batch.image_BHWC, batch.words).seen_BND
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_lora_reaches_its_targets_only(built):
    policy = tuned(built, "language", Lora(rank=2, targets=("*.0.self_attn.*", "*.up_proj")))
    reached = {name.split(".lora_")[0] for name, _ in policy.named_parameters() if ".lora_" in name}
    blocks = len(policy.language.blocks)
    assert {name.split(".")[-1] for name in reached} == {"q_proj", "k_proj", "v_proj", "o_proj", "up_proj"}
    assert len(reached) == 4 + blocks


def test_lora_dropout_acts_while_training_only(built):
    batch = next(batches(built[1]))
    policy = tuned(built, "vision", Lora(rank=2, dropout=0.5))
    with torch.no_grad():
        for parameter in policy.vision.parameters():
            parameter += 0.01 * parameter.requires_grad  # B starts at zero, and nothing drops out of nothing
        pairs = [[policy.train(mode).vision(batch.image_BHWC) for _ in range(2)] for mode in (True, False)]
    assert [torch.equal(*pair) for pair in pairs] == [False, True]


def test_what_an_attention_reads_without_calling_it_gets_no_lora(built):
    policy = copy.deepcopy(built[0])
    policy.projector = torch.nn.ModuleDict({"called": torch.nn.Linear(8, 8), "read": torch.nn.MultiheadAttention(8, 2)})
    adapt(policy, Spec(projector=Slot(tune=Lora(rank=2))), seed=0)
    assert {name.split(".")[1] for name, _ in policy.named_parameters() if ".lora_" in name} == {"called"}


def test_experts_get_low_rank_updates_and_neither_dropout_nor_dora(tmp_path):
    backbone = str(make("qwen3_vl_moe", tmp_path / "vlm"))
    built = build(Spec(backbone=backbone), 0, chunk=2, root=Path())
    experts = tuned(built, "language", Lora(rank=2, targets=("*.experts.*",)))
    reached = {name for name, p in experts.language.named_parameters() if p.requires_grad}
    assert reached and all(".experts." in name and ".lora_" in name for name in reached)
    for tune in (Lora(dora=True), Lora(dropout=0.1)):
        with pytest.raises(UserError, match="experts of the slot 'language' take LoRA without dropout and dora only"):
            tuned(built, "language", tune)
    without = tuned(built, "language", Lora(dora=True, targets=("*.self_attn.*",)))
    assert not any(".experts." in name for name, p in without.language.named_parameters() if p.requires_grad)


def test_lora_scale_is_alpha_over_rank(built):
    policy = tuned(built, "projector", Lora(rank=4, alpha=6.0))
    layer = policy.projector.linear
    assert layer.scaling == {"default": 1.5}  # type: ignore[union-attr]


def test_new_lora_weights_are_a_function_of_the_seed_and_spare_the_global_generator(built):
    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    first, same, other = (bits(tuned(built, "language", Lora(rank=2), seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert {name for name in first if not torch.equal(first[name], other[name])} == {
        n for n in first if ".lora_A." in n
    }


@pytest.mark.parametrize(
    ("slot", "tune", "sentence"),
    [
        ("embeddings", Lora(), "'embeddings' has no linear layer"),
        ("language", Lora(targets=("q_proj",)), "'language' has a name like 'q_proj'.* end in .*o_proj, q_proj"),
        ("vision", Lora(targets=("*.q_proj", "*.nothing")), r"'vision' has a name like '\*\.nothing'"),
    ],
)
def test_low_rank_updates_of_nothing_are_refused_in_one_sentence(built, slot: SlotName, tune: Lora, sentence: str):
    with pytest.raises(UserError, match=sentence):
        tuned(built, slot, tune)
