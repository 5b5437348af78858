"""PaliGemma (arXiv:2407.07726): SigLIP tower, linear projector, Gemma decoder with a bidirectional prefix.

What is particular to it: image tokens come before the words, positions start at 1, the image and the words are the
prefix (token type 0, every token of it sees every other), and the query is the suffix (token type 1).
"""

from typing import Any

import torch
from torch import Tensor, nn

from encoders.contract import Card
from encoders.hf_vit import HfViT
from encoders.torchvision_ops import ensure
from workbench.backbones.contract import Backbone, Hidden, Language, Words, pad_right

ensure()  # transformers' vision models import torchvision

from transformers import PaliGemmaForConditionalGeneration  # noqa: E402

PROMPT = "{instruction}\n"


class PaliGemmaLanguage(Language):
    """`base` is transformers' own `PaliGemmaModel`, its tower, projector and embeddings taken out."""

    def __init__(self, base: Any):
        super().__init__()
        self.base = base
        self.width = base.config.text_config.hidden_size

    @property
    def blocks(self) -> list[nn.Module]:
        return list(self.base.language_model.layers)

    def forward(self, seen_BNE: Tensor, words_BTE: Tensor, mask_BT: Tensor, query_E: Tensor) -> Hidden:
        batch, seen = seen_BNE.shape[:2]
        query_B1E = query_E.to(seen_BNE.dtype).expand(batch, 1, -1)
        one = mask_BT.new_ones(batch, 1)
        mask = torch.cat([mask_BT.new_ones(batch, seen), mask_BT, one], dim=1)
        types = torch.zeros_like(mask)
        types[:, -1] = 1
        hidden = self.base(
            inputs_embeds=torch.cat([seen_BNE, words_BTE, query_B1E], dim=1),
            attention_mask=mask,
            position_ids=mask.cumsum(dim=1),
            token_type_ids=types,
            use_cache=False,
        ).last_hidden_state
        return Hidden(hidden, mask)


def native_card(model: Any, name: str) -> Card:
    """The card of the model's own tower: PaliGemma normalises to [-1, 1] and reads the last layer after its norm."""
    vision = model.config.vision_config
    return Card(
        name=f"{name}/vision",
        source=f"transformers:{name}",
        side=vision.image_size,
        tokens=(vision.image_size // vision.patch_size) ** 2,
        dim=vision.hidden_size,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        layer="last",
        resize="squash",
        prefix=0,
        final_norm=True,
        paper="arXiv:2407.07726",
        licence="gemma" if name != "embedded" else "Apache-2.0",
    )


def take_apart(model: PaliGemmaForConditionalGeneration, tokenizer: Any, name: str) -> Backbone:
    """The slots of a PaliGemma; the language-model head is dropped (the policy never generates text)."""
    base: Any = model.model
    vision = HfViT(native_card(model, name), base.vision_tower)
    projector, embeddings = base.multi_modal_projector, base.language_model.embed_tokens
    base.vision_tower, base.multi_modal_projector = nn.Identity(), nn.Identity()
    base.language_model.embed_tokens = nn.Identity()

    def tokenize(instructions: Any) -> Words:
        texts = [PROMPT.format(instruction=text) for text in instructions]
        start, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
        return pad_right([[start, *row] for row in tokenizer(texts, add_special_tokens=False)["input_ids"]], pad)

    head: Any = model.lm_head.weight
    unused = 0 if head is embeddings.weight else head.numel()
    return Backbone(name, vision, projector, embeddings, PaliGemmaLanguage(base), tokenize, PROMPT, unused)
