"""The real classes of the tiny families, with random weights: (id of a token, size of the vocabulary) → model."""

from collections.abc import Callable
from typing import Any

from tiny_processors import SIDE

from encoders.torchvision_ops import ensure

ensure()

import transformers as hf  # noqa: E402

WIDTH = 64


def text(model_type: str, vocabulary: int, **facts: Any) -> dict[str, Any]:
    return dict(
        model_type=model_type, vocab_size=vocabulary, hidden_size=WIDTH, intermediate_size=128, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024, pad_token_id=0, bos_token_id=2,
        eos_token_id=1,
    ) | facts  # fmt: skip


def vision(model_type: str | None, **facts: Any) -> dict[str, Any]:
    shape = dict(
        hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, image_size=SIDE, patch_size=14
    )
    return shape | ({"model_type": model_type} if model_type else {}) | facts


def qwen_text(model_type: str, vocabulary: int, **facts: Any) -> dict[str, Any]:
    rope = dict(rope_type="default", rope_theta=1e6, mrope_section=[2, 3, 3])
    return text(model_type, vocabulary, rope_parameters=rope, **facts)


def qwen_ids(token: Callable[[str], int]) -> dict[str, int]:
    return dict(
        image_token_id=token("<|image_pad|>"), video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"), vision_end_token_id=token("<|vision_end|>"),
    )  # fmt: skip


def qwen2_5(token: Callable[[str], int], vocabulary: int) -> Any:
    tower = dict(
        depth=2, hidden_size=48, intermediate_size=96, num_heads=4, patch_size=14, out_hidden_size=WIDTH,
        fullatt_block_indexes=[1], window_size=56,
    )  # fmt: skip
    config = hf.Qwen2_5_VLConfig(
        text_config=qwen_text("qwen2_5_vl_text", vocabulary), vision_config=tower, **qwen_ids(token)
    )
    return hf.Qwen2_5_VLForConditionalGeneration(config)


QWEN3_TOWER = dict(
    depth=3, hidden_size=48, intermediate_size=96, num_heads=4, patch_size=16, out_hidden_size=WIDTH,
    num_position_embeddings=16, deepstack_visual_indexes=[0, 1],
)  # fmt: skip


def qwen3(token: Callable[[str], int], vocabulary: int) -> Any:
    words = qwen_text("qwen3_vl_text", vocabulary, head_dim=16)
    config = hf.Qwen3VLConfig(text_config=words, vision_config=QWEN3_TOWER, **qwen_ids(token))
    return hf.Qwen3VLForConditionalGeneration(config)


def qwen3_moe(token: Callable[[str], int], vocabulary: int) -> Any:
    experts = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64, head_dim=16)
    words = qwen_text("qwen3_vl_moe_text", vocabulary, **experts)
    config = hf.Qwen3VLMoeConfig(text_config=words, vision_config=QWEN3_TOWER, **qwen_ids(token))
    return hf.Qwen3VLMoeForConditionalGeneration(config)


def paligemma(decoder: str) -> Callable[[Callable[[str], int], int], Any]:
    def build(token: Callable[[str], int], vocabulary: int) -> Any:
        window = dict(sliding_window=256, query_pre_attn_scalar=16) if decoder == "gemma2" else {}
        config = hf.PaliGemmaConfig(
            text_config=text(decoder, vocabulary, head_dim=16, **window),
            vision_config=vision("siglip_vision_model", projection_dim=WIDTH, vision_use_head=False),
            image_token_index=token("<image>"),
            projection_dim=WIDTH,
            hidden_size=WIDTH,
        )
        return hf.PaliGemmaForConditionalGeneration(config)

    return build


def gemma3(token: Callable[[str], int], vocabulary: int) -> Any:
    layers = dict(sliding_window=128, layer_types=["sliding_attention", "full_attention", "sliding_attention"])
    config = hf.Gemma3Config(
        text_config=text("gemma3_text", vocabulary, head_dim=16, query_pre_attn_scalar=16, **layers),
        vision_config=vision("siglip_vision_model", vision_use_head=False),
        mm_tokens_per_image=4,
        image_token_index=token("<image_soft_token>"),
        boi_token_index=token("<start_of_image>"),
        eoi_token_index=token("<end_of_image>"),
    )
    return hf.Gemma3ForConditionalGeneration(config)


def idefics3(token: Callable[[str], int], vocabulary: int) -> Any:
    config = hf.Idefics3Config(
        text_config=text("llama", vocabulary),
        vision_config=vision(None),
        image_token_id=token("<image>"),
        scale_factor=2,
    )
    return hf.Idefics3ForConditionalGeneration(config)


def smolvlm(token: Callable[[str], int], vocabulary: int) -> Any:
    config = hf.SmolVLMConfig(
        text_config=text("llama", vocabulary),
        vision_config=vision(None),
        image_token_id=token("<image>"),
        scale_factor=2,
    )
    return hf.SmolVLMForConditionalGeneration(config)


def internvl(token: Callable[[str], int], vocabulary: int) -> Any:
    tower = vision(None, image_size=[SIDE, SIDE], patch_size=[14, 14], use_mask_token=True)
    config = hf.InternVLConfig(
        text_config=text("qwen2", vocabulary), vision_config=tower, image_token_id=token("<IMG_CONTEXT>")
    )
    return hf.InternVLForConditionalGeneration(config)


def llava(token: Callable[[str], int], vocabulary: int) -> Any:
    config = hf.LlavaConfig(
        text_config=text("llama", vocabulary),
        vision_config=vision("clip_vision_model", projection_dim=48),
        image_token_index=token("<image>"),
    )
    return hf.LlavaForConditionalGeneration(config)


def llava_onevision(token: Callable[[str], int], vocabulary: int) -> Any:
    config = hf.LlavaOnevisionConfig(
        text_config=text("qwen2", vocabulary),
        vision_config=vision("siglip_vision_model", vision_use_head=True),
        image_token_index=token("<image>"),
        video_token_index=token("<video>"),
        image_grid_pinpoints=[[SIDE, SIDE]],
    )
    return hf.LlavaOnevisionForConditionalGeneration(config)


def kosmos2(token: Callable[[str], int], vocabulary: int) -> Any:
    words = dict(
        vocab_size=vocabulary, max_position_embeddings=256, embed_dim=WIDTH, layers=3, ffn_dim=128, attention_heads=4,
        pad_token_id=0, bos_token_id=token("<s>"), eos_token_id=1,
    )  # fmt: skip
    return hf.Kosmos2ForConditionalGeneration(
        hf.Kosmos2Config(text_config=words, vision_config=vision(None), latent_query_num=64)
    )
