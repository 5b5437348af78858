"""Families that are not listed: the ones that follow the convention work, the others are refused with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import text, vision
from tiny_processors import llava_processor
from tiny_vlms import Tiny, save, turns

from workbench.backbones.conventions import conventional, probe
from workbench.backbones.family import take_apart
from workbench.backbones.registry import FAMILIES, load_backbone
from workbench.backbones.towers import HALVES, Origin
from workbench.errors import UserError

# after our own modules, which make torchvision importable
import transformers as hf  # isort: skip


def aya(token: Callable[[str], int], vocabulary: int) -> Any:
    config = hf.AyaVisionConfig(
        text_config=text("cohere2", vocabulary, sliding_window=512),
        vision_config=vision("siglip_vision_model"),
        image_token_index=token("<image>"),
        adapter_layer_norm_eps=1e-6,
    )
    return hf.AyaVisionForConditionalGeneration(config)


def vip(token: Callable[[str], int], vocabulary: int) -> Any:
    config = hf.VipLlavaConfig(
        text_config=text("llama", vocabulary),
        vision_config=vision("clip_vision_model", projection_dim=48),
        image_token_index=token("<image>"),
        vision_feature_layers=[-1, -2],
    )
    return hf.VipLlavaForConditionalGeneration(config)


def llava_next(token: Callable[[str], int], vocabulary: int) -> Any:
    config = hf.LlavaNextConfig(
        text_config=text("llama", vocabulary),
        vision_config=vision("clip_vision_model", projection_dim=48),
        image_token_index=token("<image>"),
    )
    return hf.LlavaNextForConditionalGeneration(config)


def tiny(model: Callable[[Callable[[str], int], int], Any]) -> Tiny:
    return Tiny(("<image>",), model, llava_processor, turns("<image>\n", "USER: ", " ", "ASSISTANT:"))


def test_an_unlisted_family_that_follows_the_convention_works_and_is_lossless(tmp_path: Path):
    folder = save(tiny(aya), tmp_path / "aya")
    native = hf.AutoModelForImageTextToText.from_pretrained(folder).eval()
    assert native.config.model_type not in FAMILIES
    ours = load_backbone(str(folder), weights="pretrained", seed=0)
    side, token = ours.vision.card.side, 300
    image = torch.randint(256, (1, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    words = ours.tokenize(["lift the red block"])
    with torch.no_grad():
        seen = ours.projector(ours.vision(image))
        embedded, end = ours.embeddings(words.ids_BT), ours.embeddings(torch.tensor(token))
        got = ours.language(seen, embedded, words.mask_BT, end[None, None]).query_BE
        at, places = ours.language.image_at, torch.full((1, seen.shape[1]), native.config.image_token_id)
        ids = torch.cat([words.ids_BT[:, :at], places, words.ids_BT[:, at:], torch.tensor([[token]])], dim=1)
        pixels = ours.vision.pixels_BCHW(image)
        whole = native.model(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids)).last_hidden_state
    torch.testing.assert_close(got, whole[:, -1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (vip, "cannot be taken apart by convention: it reads a vision layer, but says nothing of its class token"),
        (llava_next, "cannot be taken apart by convention: it has parameters of no slot: image_newline"),
    ],
)
def test_an_unlisted_family_that_does_more_is_refused_with_the_reason(
    model: Callable[[Callable[[str], int], int], Any], reason: str, tmp_path: Path
):
    folder = save(tiny(model), tmp_path / "vlm")
    with pytest.raises(UserError, match=reason):
        load_backbone(str(folder), weights="pretrained", seed=0)


def test_slots_that_do_not_give_what_the_whole_gave_are_refused(tmp_path: Path):
    native: Any = hf.AutoModelForImageTextToText.from_pretrained(save(tiny(aya), tmp_path))
    family = conventional(native, "aya")
    probed = probe(native, "aya", image_at=2)
    slots = take_apart(native, family, Origin("aya", HALVES, "", ""), image_at=2)
    probed.confirm(slots)
    with torch.no_grad():
        next(slots.projector.parameters()).mul_(1.01)
    with pytest.raises(UserError, match="taken apart by the convention it computes something else"):
        probed.confirm(slots)
    slots.language.image_at = 3
    with pytest.raises(UserError, match="it computes something else"):
        probed.confirm(slots)


def test_a_family_without_a_tower_of_its_own_is_refused(tmp_path: Path):
    hf.Idefics2Config().save_pretrained(tmp_path)
    config = hf.Idefics2Config(
        text_config=text("mistral", 64), vision_config=dict(hidden_size=48, num_hidden_layers=1, num_attention_heads=4)
    )
    config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="its Idefics2Model has no vision_tower, multi_modal_projector, language_model"):
        load_backbone(str(tmp_path), weights="random", seed=0)


def test_a_model_that_reads_no_images_is_refused(tmp_path: Path):
    hf.LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is a 'llama', which reads no images; the families known so far: gemma3"):
        load_backbone(str(tmp_path), weights="random", seed=0)
