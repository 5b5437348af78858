"""What a slot's tune promises is what three real training steps do to its bits."""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from workbench.backbones.contract import Backbone
from workbench.backbones.registry import EMBEDDED
from workbench.build import build
from workbench.errors import UserError
from workbench.plan import Budget
from workbench.policy import Policy
from workbench.spec import SLOTS, Frozen, Full, LastBlocks, Lora, Norms, Slot, SlotName, Spec, Tune
from workbench.training.adapt import adapt
from workbench.training.imitate import Batch, imitation_loss
from workbench.training.train import train

TUNES: dict[str, Tune] = {
    "frozen": Frozen(),
    "full": Full(),
    "lora": Lora(rank=2, alpha=3.0),
    "last": LastBlocks(blocks=1),
    "dora": Lora(rank=2, dora=True),
    "norms": Norms(),
}
IMPOSSIBLE = {("embeddings", "lora"), ("embeddings", "dora"), ("embeddings", "norms"), ("projector", "norms")}
IMPOSSIBLE |= {(slot, "last") for slot in ("projector", "embeddings", "head")}
POSSIBLE = [(slot, tune) for slot in SLOTS for tune in TUNES if (slot, tune) not in IMPOSSIBLE]
BUDGET = Budget(steps=3, batch=4, warmup_steps=0, schedule="constant", chunk=2)


@pytest.fixture(scope="module")
def built() -> tuple[Policy, Backbone]:
    return build(Spec(), 0, chunk=BUDGET.chunk, root=Path())


def batches(backbone: Backbone, seed: int = 0) -> Iterator[Batch]:
    """Noise, and actions to imitate in it: what is learned does not matter here, what moves does."""
    random = np.random.default_rng(seed)
    while True:
        image = torch.from_numpy(random.integers(0, 256, (BUDGET.batch, 64, 64, 3), dtype=np.uint8))
        action = torch.from_numpy(random.uniform(-1, 1, (BUDGET.batch, BUDGET.chunk, 7)).astype(np.float32))
        texts = [
            f"{'reach lift put stack'.split()[i % 4]} the red block on the blue plate" for i in range(BUDGET.batch)
        ]
        padded = torch.zeros(BUDGET.batch, BUDGET.chunk, dtype=torch.bool)
        yield Batch(image, backbone.tokenize(texts), action, padded, tuple(range(BUDGET.batch)))


def tuned(built: tuple[Policy, Backbone], slot: SlotName, tune: Tune, *, seed: int = 0) -> Policy:
    """A copy of the policy with `slot` tuned so, every other slot trained in full."""
    policy, spec = copy.deepcopy(built[0]), Spec()
    adapt(policy, spec.with_slot(slot, spec.slot(slot).model_copy(update={"tune": tune})), seed=seed)
    return policy


def bits(policy: Policy) -> dict[str, Tensor]:
    """Every parameter and buffer, copied."""
    return {k: v.detach().clone() for k, v in [*policy.named_parameters(), *policy.named_buffers()]}


def three_steps(policy: Policy, backbone: Backbone) -> set[str]:
    """Train; the names of the tensors whose bits are no longer the same."""
    before = bits(policy)
    steps = list(train(policy, batches(backbone), loss=lambda batch: imitation_loss(policy, batch), budget=BUDGET))
    assert len(steps) == 3
    after = bits(policy)
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(("slot", "kind"), POSSIBLE)
def test_three_steps_move_what_the_tune_promises_and_nothing_else(built, slot, kind):
    policy = tuned(built, slot, TUNES[kind])
    inside = {name for name, _ in policy.get_submodule(slot).named_parameters(prefix=slot)}
    blocks = {"vision": policy.vision, "language": policy.language}
    promised = {
        "frozen": lambda: set(),
        "full": lambda: inside,
        "lora": lambda: {name for name in inside if ".lora_A." in name or ".lora_B." in name},
        "dora": lambda: {name for name in inside if ".lora_" in name},
        "norms": lambda: {name for name in inside if "norm" in name or "head.trunk.0." in name},
        "last": lambda: {
            name
            for name, p in policy.named_parameters()
            if any(p is q for q in blocks[slot].blocks[-1].parameters())  # type: ignore[index]
        },
    }[kind]()
    others = {name for name, _ in policy.named_parameters()} - inside
    decided = {name for name, p in policy.named_parameters() if p.requires_grad}
    assert decided == promised | others
    moved = three_steps(policy, built[1])
    assert moved == decided
    assert bool(promised) == (kind != "frozen")


@pytest.mark.parametrize("kind", ["frozen", "lora", "last", "norms"])
def test_an_encoder_from_another_library_keeps_the_same_promises(kind):
    spec = Spec(
        vision=Slot(module="tiny", weights="random", tune=TUNES[kind]), projector=Slot(module="mlp", weights="random")
    )
    policy, backbone = build(spec, 0, chunk=BUDGET.chunk, root=Path())
    adapt(policy, spec, seed=0)
    decided = {name for name, p in policy.named_parameters() if p.requires_grad}
    vision = {name for name in decided if name.startswith("vision.")}
    assert three_steps(policy, backbone) == decided
    assert len(vision) == {"frozen": 0, "lora": 4 * 4 * 2, "last": 12, "norms": 4 * 4 + 2}[kind]
    # 4 blocks of 4 linear layers and 2 norms, 12 tensors each, and a final norm


def test_a_frozen_slot_has_no_gradient_and_stays_in_eval_mode(built):
    policy = tuned(built, "vision", Frozen())
    policy.eval()
    policy.train()
    assert not any(module.training for module in policy.vision.modules())
    assert policy.language.training and policy.head.training
    three_steps(policy, built[1])
    assert all(p.grad is None for p in policy.vision.parameters())
    assert not any(module.training for module in policy.vision.modules())


def with_dropout(folder: Path) -> Path:
    """The embedded backbone with attention dropout in tower and decoder."""
    shutil.copytree(EMBEDDED, folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["attention_dropout"] = config["vision_config"]["attention_dropout"] = 0.5
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_frozen_slot_draws_no_dropout_and_a_trained_one_does(tmp_path):
    policy, backbone = build(Spec(backbone=str(with_dropout(tmp_path / "vlm"))), 0, chunk=2, root=Path())
    batch = next(batches(backbone))

    def differs(policy: Policy) -> tuple[bool, bool]:
        """Whether two walks over the same batch in training mode give other image tokens, other hidden states."""
        policy.train()
        first, second = (policy(batch.image_BHWC, batch.words) for _ in range(2))
        return not torch.equal(first.seen_BND, second.seen_BND), not torch.equal(first.hidden_BE, second.hidden_BE)

    assert differs(tuned((policy, backbone), "vision", Frozen())) == (False, True)
    frozen = copy.deepcopy(policy)
    spec = Spec()
    for slot in ("vision", "language"):
        spec = spec.with_slot(slot, spec.slot(slot).model_copy(update={"tune": Frozen()}))
    adapt(frozen, spec, seed=0)
    assert differs(frozen) == (False, False)
    adapt(policy, Spec(), seed=0)
    assert differs(policy) == (True, True)


@pytest.mark.parametrize(
    ("slot", "tune", "sentence"),
    [
        ("head", LastBlocks(blocks=1), "'head' has no blocks"),
        ("vision", LastBlocks(blocks=99), "fewer than the 99"),
        ("projector", Norms(), "'projector' has no normalisation layer"),
    ],
)
def test_a_tune_that_a_slot_cannot_have_is_refused_in_one_sentence(built, slot, tune, sentence):
    with pytest.raises(UserError, match=sentence):
        tuned(built, slot, tune)


def test_a_model_with_nothing_to_train_is_refused(built):
    spec = Spec()
    for slot in SLOTS:
        spec = spec.with_slot(slot, spec.slot(slot).model_copy(update={"tune": Frozen()}))
    with pytest.raises(UserError, match="nothing to train"):
        adapt(copy.deepcopy(built[0]), spec, seed=0)


def test_a_parameter_outside_of_the_slots_is_noticed(built):
    policy = copy.deepcopy(built[0])
    policy.stray = torch.nn.Linear(2, 2)
    with pytest.raises(AssertionError, match="stray.weight"):
        adapt(policy, Spec(), seed=0)
