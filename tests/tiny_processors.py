"""The real processors of the tiny families: images of `SIDE` pixels pass through them unchanged in size."""

from collections.abc import Callable
from typing import Any

from encoders.torchvision_ops import ensure

ensure()

import transformers as hf  # noqa: E402
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil  # noqa: E402

SIDE = 56
HALF = [0.5, 0.5, 0.5]


def qwen_processor(patch: int, kind: str) -> Callable[[Any], Any]:
    def build(tokenizer: Any) -> Any:
        pixels = hf.Qwen2VLImageProcessorPil(
            patch_size=patch, size={"shortest_edge": 28 * 28, "longest_edge": 448 * 448}
        )
        video = hf.Qwen2VLVideoProcessor() if kind == "Qwen2_5_VLProcessor" else hf.Qwen3VLVideoProcessor()
        return getattr(hf, kind)(image_processor=pixels, tokenizer=tokenizer, video_processor=video)

    return build


def siglip_pixels(**facts: Any) -> Any:
    return SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_mean=HALF, image_std=HALF, **facts)


def paligemma_processor(tokenizer: Any) -> Any:
    pixels = siglip_pixels()
    pixels.image_seq_length = 16
    return hf.PaliGemmaProcessor(image_processor=pixels, tokenizer=tokenizer)


def gemma3_processor(tokenizer: Any) -> Any:
    pixels = hf.Gemma3ImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_mean=HALF, image_std=HALF)
    return hf.Gemma3Processor(image_processor=pixels, tokenizer=tokenizer, image_seq_length=4)


def idefics3_processor(tokenizer: Any) -> Any:
    side = {"longest_edge": SIDE}
    pixels = hf.Idefics3ImageProcessorPil(size=side, max_image_size=side, do_image_splitting=False)
    return hf.Idefics3Processor(image_processor=pixels, tokenizer=tokenizer, image_seq_len=4)


def internvl_processor(tokenizer: Any) -> Any:
    pixels = hf.GotOcr2ImageProcessorPil(size={"height": SIDE, "width": SIDE}, crop_to_patches=False)
    video = hf.InternVLVideoProcessor()
    return hf.InternVLProcessor(pixels, tokenizer, video, image_seq_length=4)


def llava_processor(tokenizer: Any) -> Any:
    pixels = hf.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    return hf.LlavaProcessor(
        pixels, tokenizer, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )


def onevision_processor(tokenizer: Any) -> Any:
    pixels = hf.LlavaOnevisionImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=[[SIDE, SIDE]]
    )
    return hf.LlavaOnevisionProcessor(
        pixels, tokenizer, hf.LlavaOnevisionVideoProcessor(), num_image_tokens=16, vision_feature_select_strategy="full"
    )


def kosmos2_processor(tokenizer: Any) -> Any:
    pixels = hf.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    return hf.Kosmos2Processor(pixels, tokenizer, num_patch_index_tokens=4)
