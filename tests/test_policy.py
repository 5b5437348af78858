"""The walk from pixels and words to a chunk of actions."""

from pathlib import Path

import pytest
import torch

from encoders.registry import build_encoder
from encoders.tiny import CARD
from workbench.actions import Actions
from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.errors import UserError
from workbench.heads.registry import build_head
from workbench.policy import Policy
from workbench.projectors import build_projector
from workbench.spec import SLOTS, Spec

CHUNK = 3


@pytest.fixture(scope="module")
def built() -> tuple[Policy, Backbone]:
    return build(Spec(), 0, chunk=CHUNK, root=Path())


def frames(batch: int, side: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def noise(batch: int = 2) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(batch)]


def test_the_walk_has_the_promised_shapes_and_the_arm_lies_in_its_range(built):
    policy, backbone = built
    walk = policy(frames(2), backbone.tokenize(["reach the red block", "lift it"]))
    card, width = policy.vision.card, policy.language.width
    assert walk.seen_BND.shape == (2, card.tokens, card.dim)
    assert walk.seen_BNE.shape == (2, card.tokens, width)
    assert walk.words_BTE.shape[0] == 2 and walk.words_BTE.shape[2] == width
    assert walk.hidden_BE.shape == (2, width)
    assert walk.hidden.all_BLE.shape == (2, card.tokens + walk.words_BTE.shape[1] + 1, width)
    assert torch.equal(walk.hidden.all_BLE[:, -1], walk.hidden_BE)
    chunk = policy.head.act(walk.hidden, noise())
    assert chunk.arm_BKA.shape == (2, CHUNK, 6) and chunk.closed_BK.shape == (2, CHUNK)
    assert chunk.arm_BKA.abs().max() <= 1.0 and chunk.closed_BK.dtype == torch.bool


def test_the_querys_state_depends_on_the_picture_and_on_the_words(built):
    policy, backbone = built
    with torch.no_grad():
        image = frames(1).expand(2, -1, -1, -1)
        asked = policy(image, backbone.tokenize(["reach the red block", "reach the blue plate"])).hidden_BE
        seen = policy(frames(2), backbone.tokenize(["reach the red block"] * 2)).hidden_BE
    assert not torch.equal(asked[0], asked[1]) and not torch.equal(seen[0], seen[1])


def test_frames_of_any_size_are_taken(built):
    policy, backbone = built
    with torch.no_grad():
        assert policy(frames(1, 96), backbone.tokenize(["reach"])).hidden_BE.shape == (1, policy.language.width)


def test_a_parameters_name_begins_with_its_slot(built):
    names = [name for name, _ in built[0].named_parameters()]
    assert {name.split(".")[0] for name in names} == set(SLOTS)
    assert "head.query_E" in names


def test_the_query_starts_as_the_embedding_of_the_prompts_last_token_and_as_a_copy_of_it(built):
    policy, backbone = built
    last = policy.embeddings(backbone.tokenize(["reach the red block"]).ids_BT)[0, -1]
    assert torch.equal(policy.head.query_E, last) and last.abs().max() > 0
    assert policy.head.query_E.data_ptr() != last.data_ptr()


def test_frozen_slots_stay_in_eval_mode_through_train(built):
    policy = built[0]
    policy.frozen = frozenset({"vision", "head"})
    policy.eval()
    for _ in range(2):
        policy.train()
        for name in SLOTS:
            assert all(m.training == (name not in policy.frozen) for m in policy.get_submodule(name).modules()), name
    policy.frozen = frozenset()
    policy.train()
    assert all(module.training for module in policy.modules())


def test_another_encoder_needs_no_width_from_the_user(built):
    """The new projector is as wide as the encoder's tokens on one side and as the language model on the other."""
    _, backbone = built
    vision = build_encoder("dinov2-small", weights="random", seed=0)
    projector = build_projector("mlp", vision.card, width=backbone.language.width, scale=1.0, tokens=256)
    head = build_head("chunk-mlp", torch.zeros(backbone.language.width), chunk=2, actions=Actions())
    policy = Policy(
        vision=vision, projector=projector, embeddings=backbone.embeddings, language=backbone.language, head=head
    )
    with torch.no_grad():
        walk = policy(frames(1), backbone.tokenize(["reach the red block"]))
    assert walk.seen_BND.shape == (1, 256, 384) and head(walk.hidden_BE)[0].shape == (1, 2, 6)


def test_unknown_projectors_and_heads_are_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="No projector named 'linaer'. Did you mean 'linear'"):
        build_projector("linaer", CARD, width=8, scale=1.0, tokens=16)
    with pytest.raises(UserError, match="No head named 'chunk-mpl'. Did you mean 'chunk-mlp'"):
        build_head("chunk-mpl", torch.zeros(8), chunk=1, actions=Actions())
