"""Taken apart into slots, a PaliGemma computes what it computed whole."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from encoders.torchvision_ops import ensure
from workbench.actions import Actions
from workbench.backbones.contract import Backbone
from workbench.backbones.family import take_apart
from workbench.backbones.paligemma import PALIGEMMA
from workbench.backbones.registry import EMBEDDED, load_backbone
from workbench.backbones.towers import HALVES, Origin
from workbench.errors import UserError
from workbench.heads.registry import build_head
from workbench.policy import Policy
from workbench.spec import Lora, Spec
from workbench.training.adapt import adapt

ensure()

from transformers import (  # noqa: E402
    AutoModelForImageTextToText,
    AutoProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
)

CLOSE = {"rtol": 0, "atol": 1e-5}
SHORT, LONG = "lift the red block", "put the yellow block on the purple plate, please"


@pytest.fixture(scope="module")
def native() -> Any:
    """The shipped folder through the door that any user of transformers takes, offline."""
    return AutoModelForImageTextToText.from_pretrained(EMBEDDED, local_files_only=True).eval()


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(EMBEDDED, local_files_only=True)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("embedded", weights="pretrained", seed=0)


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8))


def ours(backbone: Backbone, frames: torch.Tensor, texts: Sequence[str], query_E: torch.Tensor) -> torch.Tensor:
    """The query's hidden state by the slots, in the policy's order."""
    words = backbone.tokenize(texts)
    seen_BNE = backbone.projector(backbone.vision(frames))
    given = (seen_BNE, backbone.embeddings(words.ids_BT), words.mask_BT, query_E[None, None])
    with torch.no_grad():
        return backbone.language.eval()(*given).query_BE


def made(processor: Any, frames: Sequence[torch.Tensor], texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """What the model's own processor makes of pictures and prompts of one length."""
    given = processor(images=[f.numpy() for f in frames], text=[f"<image>{t}" for t in texts], return_tensors="np")
    return {name: torch.from_numpy(np.asarray(values)) for name, values in given.items()}


def whole(native: Any, processor: Any, frame: torch.Tensor, text: str, token: int) -> torch.Tensor:
    """The model's own forward over its own processor's picture and prompt, with `token` as a suffix of length one."""
    given = made(processor, [frame], [text])
    ids = torch.cat([given["input_ids"], torch.tensor([[token]])], dim=1)
    types = torch.zeros_like(ids)
    types[:, -1] = 1
    with torch.no_grad():
        return native(
            input_ids=ids,
            pixel_values=given["pixel_values"],
            attention_mask=torch.ones_like(ids),
            token_type_ids=types,
            output_hidden_states=True,
        ).hidden_states[-1][:, -1]


@pytest.mark.parametrize("text", [SHORT, LONG, ""])
def test_slot_by_slot_equals_the_models_own_forward(native, processor, backbone, frames, text):
    """A real token stands where the query would, so that the reference needs nothing of ours."""
    token = 97
    query_E = native.get_input_embeddings()(torch.tensor(token)).detach()
    expected = whole(native, processor, frames[0], text, token)
    torch.testing.assert_close(ours(backbone, frames[:1], [text], query_E), expected, **CLOSE)
    assert expected.abs().max() > 0.1  # not two zeros


def test_the_encoder_sees_the_pixels_that_the_processor_makes(processor, backbone, frames):
    given = made(processor, list(frames), [SHORT, SHORT])
    torch.testing.assert_close(backbone.vision.pixels_BCHW(frames), given["pixel_values"], rtol=0, atol=1e-6)


def test_words_are_tokenised_as_the_processor_does(processor, backbone, frames):
    words = backbone.tokenize([SHORT, LONG])
    for row, text in enumerate([SHORT, LONG]):
        given = made(processor, [frames[0]], [text])
        own = words.ids_BT[row][words.mask_BT[row].bool()]
        assert own.tolist() == given["input_ids"][0, backbone.vision.card.tokens :].tolist()


def test_padding_on_the_right_changes_nothing(backbone, frames):
    query_E = torch.linspace(-1, 1, backbone.language.width)
    both = ours(backbone, frames, [SHORT, LONG], query_E)
    words = backbone.tokenize([SHORT, LONG])
    assert words.mask_BT[0].sum() < words.mask_BT[1].sum() == words.ids_BT.shape[1]
    for row, text in enumerate([SHORT, LONG]):
        alone = ours(backbone, frames[row : row + 1], [text], query_E)
        torch.testing.assert_close(both[row : row + 1], alone, **CLOSE)


def test_the_query_is_last_and_sees_picture_and_every_word(backbone, frames):
    given: list[dict[str, Any]] = []
    base: Any = backbone.language
    hook = base.base.language_model.register_forward_pre_hook(
        lambda _, args, kwargs: given.append(kwargs), with_kwargs=True
    )
    words = backbone.tokenize([SHORT, LONG])
    words_BTE = backbone.embeddings(words.ids_BT).detach().requires_grad_()
    seen_BNE = backbone.projector(backbone.vision(frames)).detach().requires_grad_()
    query_E = torch.linspace(-1, 1, backbone.language.width)
    backbone.language(seen_BNE, words_BTE, words.mask_BT, query_E[None, None]).query_BE.pow(2).sum().backward()
    hook.remove()
    laid_out = given[0]["inputs_embeds"]
    assert laid_out.shape[1] == seen_BNE.shape[1] + words_BTE.shape[1] + 1
    torch.testing.assert_close(laid_out[:, -1], query_E.expand(2, -1), rtol=0, atol=0)
    assert given[0]["position_ids"][0, 0] == 1  # PaliGemma counts from one
    assert given[0]["position_ids"][0, -1] == seen_BNE.shape[1] + words.mask_BT[0].sum() + 1
    assert words_BTE.grad is not None and seen_BNE.grad is not None
    assert (seen_BNE.grad.abs().sum(-1) > 0).all()
    assert torch.equal(words_BTE.grad.abs().sum(-1) > 0, words.mask_BT.bool())


def test_the_prefix_sees_both_ways_and_the_suffix_only_backwards(native):
    """What the pretraining relies on: an answer's token never sees the tokens after it."""
    ids = torch.arange(30, 42)[None]
    types = (torch.arange(12) >= 8).long()[None]

    def states(ids: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return native.model(
                input_ids=ids, token_type_ids=types, attention_mask=torch.ones_like(ids)
            ).last_hidden_state[0]

    def moved(place: int) -> list[bool]:
        """Which states change when the token at `place` does."""
        other = ids.clone()
        other[0, place] = 99
        return ((states(other) - states(ids)).abs().amax(-1) > 1e-6).tolist()

    assert all(moved(7))  # the last token of the prefix: all see it
    assert moved(11) == [False] * 11 + [True]  # the last of the suffix: none does
    assert moved(9) == [False] * 9 + [True] * 3


def test_training_mode_computes_the_same_without_dropout(native, processor, backbone, frames):
    query_E = native.get_input_embeddings()(torch.tensor(97)).detach()
    expected = whole(native, processor, frames[0], SHORT, 97)
    words = backbone.tokenize([SHORT])
    seen_BNE = backbone.projector(backbone.vision.train()(frames[:1]))
    hidden = backbone.language.train()(seen_BNE, backbone.embeddings(words.ids_BT), words.mask_BT, query_E[None, None])
    torch.testing.assert_close(hidden.query_BE, expected, **CLOSE)


def test_the_shipped_folder_reloads_offline_and_its_card_is_true(native, backbone):
    assert isinstance(native, PaliGemmaForConditionalGeneration)
    slots = [backbone.vision, backbone.projector, backbone.embeddings, backbone.language]
    parameters = [p for slot in slots for p in slot.parameters()]
    assert sum(p.numel() for p in parameters) + backbone.unused_parameters == native.num_parameters()
    assert len({p.data_ptr() for p in parameters}) == len(parameters)  # no slot holds another's tensor
    assert backbone.vision.card.dim == native.config.vision_config.hidden_size


def test_random_weights_are_a_function_of_the_seed_and_spare_the_global_generator():
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    first, same, other = (load_backbone("embedded", weights="random", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    for slot in ("vision", "projector", "embeddings", "language"):
        bits = [getattr(one, slot).state_dict() for one in (first, same, other)]
        assert all(torch.equal(bits[0][key], bits[1][key]) for key in bits[0]), slot
        assert any(not torch.equal(bits[0][key], bits[2][key]) for key in bits[0]), slot


def test_a_real_size_paligemma_has_the_same_slots_and_under_one_percent_new_parameters():
    """Three billion parameters on the meta device: shapes without memory."""
    config = PaliGemmaConfig(
        text_config=dict(
            model_type="gemma", hidden_size=2048, intermediate_size=16384, num_hidden_layers=18,
            num_attention_heads=8, num_key_value_heads=1, head_dim=256, vocab_size=257216,
        ),
        vision_config=dict(
            model_type="siglip_vision_model", hidden_size=1152, intermediate_size=4304, num_hidden_layers=27,
            num_attention_heads=16, image_size=224, patch_size=14, projection_dim=2048, vision_use_head=False,
        ),
        projection_dim=2048,
    )  # fmt: skip
    with torch.device("meta"):
        model = PaliGemmaForConditionalGeneration(config)
        real = take_apart(model, PALIGEMMA, Origin("paligemma-3b", HALVES, "", "gemma"), image_at=0)
        head = build_head("chunk-mlp", torch.zeros(real.language.width), chunk=4, actions=Actions())
    policy = Policy(
        vision=real.vision, projector=real.projector, embeddings=real.embeddings, language=real.language, head=head
    )
    total, new = (sum(p.numel() for p in module.parameters()) for module in (policy, head))
    assert total > 2.8e9 and new / total < 0.01
    assert (len(real.vision.blocks), len(real.language.blocks)) == (27, 18)
    assert (real.vision.card.side, real.vision.card.tokens, real.vision.card.dim) == (224, 256, 1152)
    spec = Spec()
    adapt(policy, spec.with_slot("language", spec.language.model_copy(update={"tune": Lora(rank=8)})), seed=0)
    adapters = [name for name, p in policy.named_parameters() if p.requires_grad and name.startswith("language.")]
    assert len(adapters) == 18 * 7 * 2 and all(".lora_" in name for name in adapters)


def test_a_damaged_weights_file_is_refused_by_name(tmp_path: Path):
    folder = shutil.copytree(EMBEDDED, tmp_path / "vlm")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UserError, match="cannot be read"):
        load_backbone(str(folder), weights="pretrained", seed=0)
