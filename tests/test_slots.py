"""Every family, every slot, every tune: bits move where the ledger says, and what is saved comes back the same.

Each policy has another tune in each of its slots, and the tunes rotate: six policies are every (slot, tune) there is.
"""

import copy
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_vlms import TINY, make

from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.edits import Edit, Replace, edited
from workbench.errors import UserError
from workbench.heads.contract import Chunk
from workbench.plan import Budget
from workbench.policy import Policy
from workbench.projectors import image_tokens
from workbench.spec import SLOTS, Frozen, Full, LastBlocks, Lora, Norms, Slot, SlotName, Spec, Tune
from workbench.training.adapt import adapt
from workbench.training.imitate import Batch, imitation_loss
from workbench.training.ledger import Audit, Ledger
from workbench.training.train import train
from workbench.weights import WEIGHTS, save_weights

TUNES: tuple[Tune, ...] = (
    Full(),
    Frozen(),
    Lora(rank=2, alpha=3.0),
    LastBlocks(blocks=1),
    Lora(rank=3, dora=True, dropout=0.25),
    Norms(),
)
BUDGET = Budget(steps=3, batch=2, warmup_steps=0, schedule="constant", chunk=2)
HEADS = ("chunk-mlp", "flow-matching")
FAMILIES = ("embedded", *TINY)
ENCODERS = ("timm:test_vit.r160_in1k", "timm:test_resnet.r160_in1k")
"""A transformer, and convolutions with batch norm, whose running statistics move beside its parameters."""
ADAPTER = Replace(slot="projector", module="mlp", weights="random", tokens="match")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The name under which a family's tiny backbone is loaded; it is made once."""

    @cache
    def made(family: str) -> str:
        return family if family == "embedded" else str(make(family, tmp_path_factory.mktemp("slots") / family))

    return made


@pytest.fixture(scope="session")
def built(folder: Callable[[str], str]) -> Callable[[str, str, str], tuple[Policy, Backbone]]:
    """A policy with the family's weights, or with random ones, to be copied."""

    @cache
    def one(family: str, head: str, weights: str) -> tuple[Policy, Backbone]:
        slot = Slot(weights=weights)
        spec = Spec(backbone=folder(family), vision=slot, projector=slot, embeddings=slot, language=slot)
        return build(spec.with_slot("head", Slot(module=head, weights="random")), 1, chunk=BUDGET.chunk, root=Path())

    return one


def can(policy: Policy, slot: SlotName, tune: Tune) -> bool:
    """Whether this slot can be tuned so; where not, a plain sentence has said why."""
    if isinstance(tune, Full | Frozen):
        return True
    spec = Spec()
    try:
        adapt(copy.deepcopy(policy), spec.with_slot(slot, Slot(weights="random", tune=tune)), seed=0)
    except UserError as error:
        assert f"slot {slot!r}" in str(error)
        return False
    return True


def rotated(policy: Policy, turn: int, base: Spec) -> Spec:
    """Another tune in each slot, or everything where a slot cannot be tuned so."""
    spec = base
    for place, slot in enumerate(SLOTS):
        tune = TUNES[(turn + place) % len(TUNES)]
        chosen = tune if can(policy, slot, tune) else Full()
        spec = spec.with_slot(slot, spec.slot(slot).model_copy(update={"tune": chosen}))
    return spec


def batches(backbone: Backbone) -> Iterator[Batch]:
    """Noise to imitate: what is learned does not matter here, what moves does."""
    random = torch.Generator().manual_seed(0)
    while True:
        image = torch.randint(0, 256, (BUDGET.batch, 64, 64, 3), dtype=torch.uint8, generator=random)
        action = torch.rand(BUDGET.batch, BUDGET.chunk, 7, generator=random) * 2 - 1
        words = backbone.tokenize(["lift the red block", "put the blue block on the yellow plate"])
        yield Batch(image, words, action, torch.zeros(BUDGET.batch, BUDGET.chunk, dtype=torch.bool), (0, 1))


def bits(policy: Policy) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in [*policy.named_parameters(), *policy.named_buffers()]}


def acts(policy: Policy, batch: Batch) -> Chunk:
    with torch.no_grad():
        noise = [torch.Generator().manual_seed(row) for row in range(BUDGET.batch)]
        return policy.eval().head.act(policy(batch.image_BHWC, batch.words).hidden, noise)


def trained_with(policy: Policy, backbone: Backbone, spec: Spec) -> Ledger:
    """Three steps under the audit."""
    audit = Audit(policy, spec)
    torch.manual_seed(0)
    for _ in train(
        policy,
        batches(backbone),
        loss=lambda batch: imitation_loss(policy, batch),
        budget=BUDGET,
        after_backward=lambda: audit.after_backward(policy),
    ):
        pass
    return audit.close(policy)


def check_bits(trained: Policy, again: Policy, backbone: Backbone, spec: Spec, folder: Path) -> None:
    """Trains, and compares what moved with the ledger; saves, loads into `again`, and compares what they do."""
    adapt(trained, spec, seed=0)
    decided = {name for name, p in trained.named_parameters() if p.requires_grad}
    before = bits(trained)
    rows = {row.slot: row for row in trained_with(trained, backbone, spec).rows}
    buffers = {name for name, _ in trained.named_buffers()}
    moved = {name for name, tensor in bits(trained).items() if not torch.equal(before[name], tensor)} - buffers
    assert moved == decided
    for slot in SLOTS:
        parameters = dict(trained.get_submodule(slot).named_parameters(prefix=slot))
        assert rows[slot].trainable == sum(p.numel() for name, p in parameters.items() if name in moved)
        assert rows[slot].tensors == rows[slot].gradient

    save_weights(trained, folder)
    batch = next(batches(backbone))
    adapt(again, spec, seed=9)
    expected = acts(trained, batch).arm_BKA
    assert not torch.equal(acts(again, batch).arm_BKA, expected)
    again.load_state_dict(load_file(folder / WEIGHTS), strict=True)
    assert torch.equal(acts(again, batch).arm_BKA, expected)


@pytest.mark.parametrize("turn", range(len(TUNES)))
@pytest.mark.parametrize("family", FAMILIES)
def test_bits_move_where_the_ledger_says_and_come_back_from_the_file(built, tmp_path, family, turn):
    head = HEADS[turn % 2]
    trained, backbone = copy.deepcopy(built(family, head, "pretrained"))
    again = copy.deepcopy(built(family, head, "random")[0])
    check_bits(trained, again, backbone, rotated(trained, turn, Spec()), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_holds_with_another_encoder_in_the_vision_slot(folder, tmp_path, family, encoder):
    """Each pair of family and encoder has one rotation of the tunes: every encoder meets every tune."""
    swap = (Replace(slot="vision", module=encoder, weights="random"), ADAPTER)
    base = edited(Spec(backbone=folder(family)), swap)
    trained, backbone = build(base, 0, chunk=BUDGET.chunk, root=Path())
    turn = FAMILIES.index(family) + ENCODERS.index(encoder)
    spec = rotated(trained, turn, base)
    check_bits(trained, build(base, 7, chunk=BUDGET.chunk, root=Path())[0], backbone, spec, tmp_path)


def test_the_embedded_backbone_takes_these_tunes(built):
    policy = built("embedded", "chunk-mlp", "pretrained")[0]
    found = {slot: [tune.kind for tune in TUNES if can(policy, slot, tune)] for slot in SLOTS}
    lora = ["full", "frozen", "lora", "lora"]
    assert {slot: sorted(kinds) for slot, kinds in found.items()} == {
        "vision": sorted([*lora, "last-blocks", "norms"]),
        "projector": sorted(lora),
        "embeddings": ["frozen", "full"],
        "language": sorted([*lora, "last-blocks", "norms"]),
        "head": sorted([*lora, "norms"]),
    }


SWAPS: dict[str, tuple[Edit, ...]] = {
    "native-through-adapter": (ADAPTER,),
    "another-encoder": (
        Replace(slot="vision", module="tiny", weights="random"),
        ADAPTER.model_copy(update={"module": "resampler"}),
    ),
}


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_swap_and_its_reference_reach_every_backbone_with_its_own_number_of_tokens(built, folder, family, swap):
    native = built(family, HEADS[0], "pretrained")[0]
    spec = edited(Spec(backbone=folder(family)), SWAPS[swap])
    given = image_tokens(native.projector, native.vision.card)
    policy, backbone = build(spec, 0, chunk=BUDGET.chunk, root=Path())
    adapt(policy, spec, seed=0)
    ledger = trained_with(policy, backbone, spec)
    assert ledger.encoder_tokens == policy.vision.card.tokens
    assert ledger.image_tokens == given
