"""PaliGemma 1 and 2 (arXiv:2407.07726, arXiv:2412.03555): SigLIP, a linear projector, Gemma or Gemma 2.

What is particular to them: image tokens come before the words, positions start at 1, the image and the words are the
prefix (token type 0, every token of it sees every other), and the query or the answer is the suffix (token type 1).
"""

from typing import Any

import torch

from workbench.backbones.decoder import Layout, Reading
from workbench.backbones.family import QUESTION, Family, always, taken
from workbench.backbones.towers import HALVES, siglip

INSTRUCTION = "{instruction}\n"
"""What the embedded backbone, and any other that `workbench pretrain` makes, is pretrained on."""


def prefix_and_suffix(layout: Layout) -> dict[str, Any]:
    types_BL = torch.zeros_like(layout.mask_BL)
    types_BL[:, types_BL.shape[1] - layout.suffix :] = 1
    return {"position_ids": layout.positions_BL(1), "token_type_ids": types_BL}


PALIGEMMA = Family(
    title="PaliGemma",
    paper="arXiv:2407.07726",
    pixels=HALVES,
    vision="model.vision_tower",
    embeddings="model.language_model.embed_tokens",
    decoder="model",
    encode=siglip,
    project=taken("model.multi_modal_projector"),
    read=always(
        Reading(
            prefix_and_suffix,
            (
                "position_ids: 1-D from 1",
                "token_type_ids: 0 image and words, 1 query",
                "attention_mask: image and words see each other, the query sees all",
            ),
        )
    ),
    template="<image><bos>{prompt}",
    templated=False,
    question=QUESTION + "\n",
)
