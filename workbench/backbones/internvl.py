"""InternVL 3 and 3.5 in the Hugging Face format (arXiv:2504.10479, arXiv:2508.18265): InternViT, pixel shuffle, Qwen.

What is particular to it: 2 × 2 tokens become one before the projector, by a method of the model that has no weights.
A frame is one image, never split into tiles.
"""

from typing import Any

from torch import Tensor, nn

from workbench.backbones.decoder import CAUSAL
from workbench.backbones.family import Family, always, taken
from workbench.backbones.towers import IMAGENET, Origin, Tower, grid, last_patches, last_state, native_card, square_edge
from workbench.errors import UserError


class Shuffled(nn.Module):
    """[B, N, D] → [B, N · ratio², E]: each square of neighbouring tokens is stacked along the channels, row by row."""

    def __init__(self, native: nn.Module, ratio: float) -> None:
        super().__init__()
        self.native = native
        self.merge = round(1 / ratio)

    def forward(self, seen_BND: Tensor) -> Tensor:
        batch, tokens, dim = seen_BND.shape
        edge, merge = square_edge(tokens), self.merge
        if edge % merge:
            raise ValueError(f"This projector merges {merge} × {merge} tokens; a grid of edge {edge} does not divide.")
        small = edge // merge
        blocks = seen_BND.reshape(batch, small, merge, small, merge, dim)
        merged = blocks.permute(0, 1, 3, 2, 4, 5).reshape(batch, small * small, merge * merge * dim)
        return self.native(merged)


def _tower(tower: Any, config: Any, origin: Origin) -> Tower:
    if config.vision_feature_layer != -1:
        raise UserError(f"{origin.name!r} reads the vision layer {config.vision_feature_layer}; known is the last, -1.")
    tower.embeddings.mask_token = None  # of the tower's own pretraining; nothing here masks patches
    shape = grid(config.vision_config)
    dropped = config.vision_feature_select_strategy == "default"
    normed = not config.vision_config.use_mean_pooling
    card = native_card(origin, shape, tokens=shape.edge**2 + (not dropped), prefix=int(dropped), final_norm=normed)
    return Tower(card, tower, last_patches if dropped else last_state)


def _shuffled(model: Any) -> nn.Module:
    return Shuffled(taken("model.multi_modal_projector")(model), model.config.downsample_ratio)


INTERNVL = Family(
    title="InternVL",
    paper="arXiv:2504.10479",
    pixels=IMAGENET,
    vision="model.vision_tower",
    embeddings="model.language_model.embed_tokens",
    decoder="model.language_model",
    encode=_tower,
    project=_shuffled,
    read=always(CAUSAL),
    template="<|im_start|>user\n<IMG_CONTEXT>\n{prompt}<|im_end|>\n<|im_start|>assistant\n",
    placeholder=("<IMG_CONTEXT>", "<img><IMG_CONTEXT></img>"),
)
