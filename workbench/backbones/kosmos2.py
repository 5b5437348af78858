"""Kosmos-2 (arXiv:2306.14824): CLIP, 64 latent queries that attend to its tokens, a decoder with sine positions.

What is particular to it: the tower's every token, class token too, passes its final norm and is scaled to length one;
the decoder multiplies what it is given by √E itself, image and words alike; positions start behind the padding token's.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from workbench.backbones.decoder import Layout, Reading
from workbench.backbones.family import Family
from workbench.backbones.towers import OPENAI, Origin, Tower, grid, native_card


class Latent(nn.Module):
    """[B, N, D] → [B, latent queries, E]: the class's own projection without the attention it also returns."""

    def __init__(self, native: nn.Module) -> None:
        super().__init__()
        self.native = native

    def forward(self, seen_BND: Tensor) -> Tensor:
        return self.native(seen_BND)[0]


def _unit_tokens(tower: Any, pixels_BCHW: Tensor) -> Tensor:
    states_BND = tower.model(pixel_values=pixels_BCHW).last_hidden_state
    return functional.normalize(tower.model.post_layernorm(states_BND), dim=-1)


def _tower(tower: nn.Module, config: Any, origin: Origin) -> Tower:
    shape = grid(config.vision_config)
    return Tower(native_card(origin, shape, tokens=shape.edge**2 + 1), tower, _unit_tokens)


def _latent(model: Any) -> nn.Module:
    return Latent(model.image_to_text_projection)


def _behind_padding(first: int, layout: Layout) -> dict[str, Any]:
    return {"position_ids": layout.positions_BL(first)}


def _reading(config: Any) -> Reading:
    first = config.text_config.pad_token_id + 1
    return Reading(partial(_behind_padding, first), (f"position_ids: 1-D from {first}", "attention_mask: causal"))


KOSMOS2 = Family(
    title="Kosmos-2",
    paper="arXiv:2306.14824",
    pixels=OPENAI,
    vision="vision_model",
    embeddings="text_model.model.embed_tokens",
    decoder="text_model.model",
    encode=_tower,
    project=_latent,
    read=_reading,
    # the first <image> opens the image, the second one marks its place; "Question … Answer:" is its published format
    template="<s><image><image></image> Question: {prompt} Answer:",
    marker="<image>",
    templated=False,
)
