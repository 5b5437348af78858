"""Which parameter is in which slot, of models of any size, from their configuration alone."""

import json
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_vlms import TINY, make

from workbench.anatomy import anatomy, brief
from workbench.backbones.registry import load_backbone
from workbench.errors import UserError
from workbench.screens.anatomy import anatomy_tree

# after our own modules, which make torchvision importable
import transformers as hf  # isort: skip

LLAVA_NORM = "model.vision_tower.post_layernorm"  # LLaVA reads one layer before it
SLOTS = ("vision", "projector", "embeddings", "language")


def qwen3_vl_30b(folder: Path) -> str:
    """Qwen3-VL-30B-A3B as published: 48 layers of 128 experts of 768, 8 a token."""
    words = dict(
        vocab_size=151936, hidden_size=2048, intermediate_size=6144, num_hidden_layers=48, num_attention_heads=32,
        num_key_value_heads=4, head_dim=128, num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768,
        max_position_embeddings=262144, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="default", rope_theta=5e6, mrope_section=[24, 20, 20], mrope_interleaved=True),
    )  # fmt: skip
    hf.Qwen3VLMoeConfig(text_config=words, vision_config=dict(out_hidden_size=2048)).save_pretrained(folder)
    return str(folder)


def test_31_billion_parameters_take_seconds_and_no_weights(tmp_path: Path):
    started = time.process_time()
    seen = anatomy(qwen3_vl_30b(tmp_path))
    assert time.process_time() - started < 15
    assert seen.total_parameters == 31_070_754_032  # as the hub counts its weights
    vision, projector, language = seen.slot("vision"), seen.slot("projector"), seen.slot("language")
    assert (vision.side, vision.tokens, vision.blocks, vision.width) == (224, 14 * 14, 27, 4 * 1152)
    assert (projector.tokens, projector.width) == (7 * 7, 4 * 2048)
    assert projector.paths == ("model.visual.deepstack_merger_list", "model.visual.merger")
    assert (language.blocks, language.width) == (48, 2048) and language.parameters > 29e9
    assert seen.slot("unused").paths == ("lm_head",) and seen.slot("unused").parameters == 151936 * 2048
    assert "deepstack: 3 layers, where the encoder gives them" in seen.passes


def qwen2_5_vl_3b() -> Any:
    words = dict(
        vocab_size=151936, hidden_size=2048, intermediate_size=11008, num_hidden_layers=36, num_attention_heads=16,
        num_key_value_heads=2, rope_parameters=dict(rope_type="default", rope_theta=1e6, mrope_section=[16, 24, 24]),
    )  # fmt: skip
    tower = dict(hidden_size=1280, out_hidden_size=2048, intermediate_size=3420)
    return hf.Qwen2_5_VLConfig(text_config=words, vision_config=tower, tie_word_embeddings=True)


def llava_7b() -> Any:
    tower = dict(
        model_type="clip_vision_model", hidden_size=1024, intermediate_size=4096, num_hidden_layers=24,
        num_attention_heads=16, image_size=336, patch_size=14, projection_dim=768,
    )  # fmt: skip
    return hf.LlavaConfig(text_config=dict(model_type="llama", vocab_size=32064), vision_config=tower)


def gemma3_4b() -> Any:
    words = dict(
        vocab_size=262208, hidden_size=2560, intermediate_size=10240, num_hidden_layers=34, num_attention_heads=8,
        num_key_value_heads=4, head_dim=256, sliding_window=1024,
    )  # fmt: skip
    tower = dict(
        hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16, image_size=896,
        patch_size=14, vision_use_head=False,
    )  # fmt: skip
    return hf.Gemma3Config(text_config=words, vision_config=tower)


@pytest.mark.parametrize(
    ("config", "total", "seen", "given", "unused"),
    [
        (qwen2_5_vl_3b, 3_754_622_976, 256, 64, ()),
        (llava_7b, 7_063_427_072, 576, 576, ("lm_head", "model.vision_tower.encoder.layers.23", LLAVA_NORM)),
        (gemma3_4b, 4_300_079_472, 4096, 256, ()),
        (hf.Kosmos2Config, 1_664_485_376, 257, 64, ()),
    ],
)
def test_published_models_have_as_many_parameters_as_the_hub_counts(
    config: Callable[[], Any], total: int, seen: int, given: int, unused: tuple[str, ...], tmp_path: Path
):
    config().save_pretrained(tmp_path)
    whole = anatomy(str(tmp_path))
    assert whole.total_parameters == total
    assert (whole.slot("vision").tokens, whole.slot("projector").tokens) == (seen, given)
    assert whole.slot("unused").paths == unused


@pytest.mark.parametrize("family", TINY)
def test_the_rows_add_up_and_are_what_a_loaded_backbone_holds(family: str, tmp_path: Path):
    folder = str(make(family, tmp_path / family))
    seen, loaded = anatomy(folder), load_backbone(folder, weights="pretrained", seed=0)
    assert sum(part.parameters for part in seen.slots) == seen.total_parameters
    assert seen.total_parameters == hf.AutoModelForImageTextToText.from_pretrained(folder).num_parameters()
    for slot in SLOTS:
        held = sum(p.numel() for p in getattr(loaded, slot).parameters())
        assert seen.slot(slot).parameters == held and seen.slot(slot).paths
    assert seen.slot("unused").parameters == loaded.unused_parameters
    assert seen.slot("vision").tokens == loaded.vision.card.tokens
    assert seen.passes == loaded.passes


def test_the_paths_of_the_rows_are_apart_and_cover_the_model(tmp_path: Path):
    folder = make("llava", tmp_path / "llava")
    seen = anatomy(str(folder))
    model = hf.AutoModelForImageTextToText.from_pretrained(folder)
    for name, _ in model.named_parameters(remove_duplicate=False):
        holders = [part.slot for part in seen.slots for path in part.paths if f"{name}.".startswith(f"{path}.")]
        assert len(holders) == 1, (name, holders)
    assert "model.vision_tower.post_layernorm" in seen.slot("unused").paths  # LLaVA reads before it


def test_a_tied_head_is_listed_and_counted_once():
    seen = anatomy("embedded")
    assert seen.slot("tied").paths == ("lm_head",) and seen.slot("tied").parameters == 0
    assert seen.slot("embeddings").paths == ("model.language_model.embed_tokens",)


def test_another_encoder_takes_the_vision_slot_and_the_native_one_is_listed_as_replaced():
    native, other = anatomy("embedded"), anatomy("embedded", vision="tiny")
    assert other.slot("replaced").paths == (*native.slot("vision").paths, *native.slot("projector").paths)
    assert other.slot("projector").note == "new: mlp, tokens kept" and other.slot("projector").paths == ()
    new = other.slot("vision").parameters + other.slot("projector").parameters
    assert other.total_parameters == native.total_parameters + new
    with pytest.raises(UserError, match="No encoder named 'tinny'. Did you mean 'tiny'"):
        anatomy("embedded", vision="tinny")


def test_as_json_it_is_plain_values_whose_rows_add_up():
    plain = json.loads(json.dumps(anatomy("embedded").as_json()))
    assert sum(row["parameters"] for row in plain["slots"]) == plain["total_parameters"]
    assert [row["slot"] for row in plain["slots"]][:4] == list(SLOTS)
    assert plain["freeze_vision"]["paths"] == ["model.vision_tower"]


def test_a_family_that_cannot_be_taken_apart_is_refused(tmp_path: Path):
    hf.LlavaNextConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="it has parameters of no slot: image_newline"):
        anatomy(str(tmp_path))


def test_numbered_siblings_are_shown_as_a_range():
    assert brief(["a.0", "a.1", "a.2", "b", "c.4"]) == ["a.0–2", "b", "c.4"]


def test_the_tree_shows_every_slot_and_what_freezing_vision_freezes(tmp_path: Path):
    screen = Console(width=200, record=True, file=StringIO())
    screen.print(anatomy_tree(anatomy(qwen3_vl_30b(tmp_path))))
    shown = screen.export_text()
    for line in ("language  29,", "196 tokens an image", "unused  311,164,928 parameters", "model.visual.merger"):
        assert line in shown
    assert "freezing vision freezes model.visual.blocks, model.visual.patch_embed, model.visual.pos_embed" in shown
