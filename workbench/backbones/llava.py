"""LLaVA 1.5 (arXiv:2310.03744) and LLaVA-OneVision (arXiv:2408.03326).

LLaVA reads CLIP one layer before the last, without class token, and projects each token.

LLaVA-OneVision takes one image in three formats: cut into tiles, as one of several images, or as a video's frame. A
frame is taken as one of several images: the whole image at the tower's own side, then one learnt `image_newline`.
"""

from typing import Any

import torch
from torch import Tensor, nn

from workbench.backbones.decoder import CAUSAL
from workbench.backbones.family import Family, always, taken
from workbench.backbones.towers import HALVES, OPENAI, at_layer


class WithNewline(nn.Module):
    """[B, N, D] → [B, N + 1, E]: the class's own projector, and the newline behind the image."""

    def __init__(self, native: nn.Module, newline_E: nn.Parameter) -> None:
        super().__init__()
        self.native = native
        self.newline_E = newline_E

    def forward(self, seen_BND: Tensor) -> Tensor:
        seen_BNE = self.native(seen_BND)
        newline_B1E = self.newline_E.to(seen_BNE.dtype).expand(len(seen_BNE), 1, -1)
        return torch.cat([seen_BNE, newline_B1E], dim=1)


def _with_newline(model: Any) -> nn.Module:
    return WithNewline(taken("model.multi_modal_projector")(model), model.model.image_newline)


LLAVA = Family(
    title="LLaVA",
    paper="arXiv:2310.03744",
    pixels=OPENAI,
    vision="model.vision_tower",
    embeddings="model.language_model.embed_tokens",
    decoder="model.language_model",
    encode=at_layer,
    project=taken("model.multi_modal_projector"),
    read=always(CAUSAL),
    template="USER: <image>\n{prompt} ASSISTANT:",
)
LLAVA_ONEVISION = Family(
    title="LLaVA-OneVision",
    paper="arXiv:2408.03326",
    pixels=HALVES,
    vision="model.vision_tower",
    embeddings="model.language_model.embed_tokens",
    decoder="model.language_model",
    encode=at_layer,
    project=_with_newline,
    read=always(CAUSAL),
    template="<|im_start|>user <image>\n{prompt}<|im_end|><|im_start|>assistant\n",
)
