"""Gemma 3 (arXiv:2503.19786): SigLIP at 896 pixels, a pooling projector, a decoder with sliding windows.

What is particular to it: image tokens have token type 1 (the opposite of PaliGemma's prefix) and see each other both
ways, everything else is causal; and the class initialises its projector at zero.
"""

from typing import Any

from torch import nn

from workbench.backbones.decoder import Layout, Reading
from workbench.backbones.family import Family, always, taken
from workbench.backbones.towers import HALVES, siglip


def image_both_ways(layout: Layout) -> dict[str, Any]:
    return {"position_ids": layout.positions_BL(0), "token_type_ids": layout.is_image_BL.long()}


def _draw_projector(model: Any) -> None:
    spread = model.config.get_text_config().initializer_range
    nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=spread)


GEMMA3 = Family(
    title="Gemma 3",
    paper="arXiv:2503.19786",
    pixels=HALVES,
    vision="model.vision_tower",
    embeddings="model.language_model.embed_tokens",
    decoder="model",
    encode=siglip,
    project=taken("model.multi_modal_projector"),
    read=always(
        Reading(
            image_both_ways,
            (
                "position_ids: 1-D from 0",
                "token_type_ids: 1 image, 0 words and query",
                "attention_mask: causal, image tokens see each other",
            ),
        )
    ),
    template="<bos><start_of_turn>user\n<start_of_image>{prompt}<end_of_turn>\n<start_of_turn>model\n",
    placeholder=("<start_of_image>", "\n\n<start_of_image><image_soft_token><end_of_image>\n\n"),
    randomise=_draw_projector,
)
