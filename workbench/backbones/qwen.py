"""Qwen2.5-VL (arXiv:2502.13923), Qwen3-VL and its mixture of experts (arXiv:2511.21631).

What is particular to them: the tower takes flattened patches of any grid, ordered by the 2 × 2 blocks that its merger
makes one token of; the merger (and Qwen3's deepstack mergers) live inside the tower but are the projector; rotary
positions have three dimensions; and Qwen3's decoder adds layers of the tower to its first hidden states (deepstack).

Deepstack layers ride along as channels: the encoder gives D = (1 + k) · tower width, the projector (1 + k) · E.
Shapes: B batch  G patches along an edge  M patches merged along an edge  N = G²  D encoder width  E language width
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from workbench.backbones.decoder import Layout, Reading, rotary_3BL
from workbench.backbones.family import Family, all_see_all
from workbench.backbones.towers import HALVES, OPENAI, Grid, Origin, Tower, native_card, square_edge

SIDE = 224
"""Pixels: these towers take any multiple of patch × merge; frames are squashed to the one nearest to this."""


class Unmerged(nn.Module):
    """Stands where a merger was: [G², D] → [G² / M², M² · D], so that the tower still undoes its window order."""

    def __init__(self, merge: int) -> None:
        super().__init__()
        self.unit = merge * merge

    def forward(self, states: Tensor) -> Tensor:
        return states.reshape(len(states) // self.unit, -1)


class Mergers(nn.Module):
    """[B, N, (1 + k) · D] in rows → [B, N / M², (1 + k) · E]: one merger for the last layer, one a deepstack layer."""

    def __init__(self, mergers: list[nn.Module], merge: int) -> None:
        super().__init__()
        self.mergers = nn.ModuleList(mergers)
        self.merge = merge

    def forward(self, seen_BND: Tensor) -> Tensor:
        batch, tokens, dim = seen_BND.shape
        edge = square_edge(tokens)
        if edge % self.merge:
            raise ValueError(f"These mergers take {self.merge} × {self.merge} tokens; an edge of {edge} cannot be cut.")
        small, each = edge // self.merge, dim // len(self.mergers)
        blocks = seen_BND.reshape(batch, small, self.merge, small, self.merge, dim).transpose(2, 3).reshape(-1, dim)
        layers = zip(self.mergers, blocks.split(each, dim=-1), strict=True)
        merged = [merger(layer.contiguous()) for merger, layer in layers]
        return torch.cat(merged, dim=-1).reshape(batch, small * small, -1)


def patches(pixels_BCHW: Tensor, patch: int, merge: int, frames: int) -> Tensor:
    """[B · G², C · frames · patch²] in merge order: one image repeated as the `frames` of a temporal patch."""
    batch, colours, side, _ = pixels_BCHW.shape
    small = side // patch // merge
    cut = pixels_BCHW.reshape(batch, colours, small, merge, patch, small, merge, patch)
    ordered = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)[:, :, :, :, :, :, None]
    return ordered.expand(-1, -1, -1, -1, -1, -1, frames, -1, -1).reshape(batch * (side // patch) ** 2, -1)


class Flat:
    """Reads a Qwen tower: frames → patches → [B, N, D] in rows, deepstack layers behind the last one's channels."""

    def __init__(self, vision: Any) -> None:
        self.patch, self.merge = vision.patch_size, vision.spatial_merge_size
        self.frames = vision.temporal_patch_size

    def __call__(self, tower: nn.Module, pixels_BCHW: Tensor) -> Tensor:
        batch, edge = len(pixels_BCHW), pixels_BCHW.shape[-1] // self.patch
        shape = torch.tensor([[1, edge, edge]] * batch, device=pixels_BCHW.device)
        states = tower(patches(pixels_BCHW, self.patch, self.merge, self.frames), grid_thw=shape)
        layers = [states.pooler_output, *(states.get("deepstack_features") or ())]
        return torch.cat([self._in_rows(layer, batch, edge // self.merge) for layer in layers], dim=-1)

    def _in_rows(self, blocks: Tensor, batch: int, small: int) -> Tensor:
        cut = blocks.reshape(batch, small, small, self.merge, self.merge, -1).transpose(2, 3)
        return cut.reshape(batch, (small * self.merge) ** 2, -1)


def _tower(tower: Any, config: Any, origin: Origin) -> Tower:
    vision = config.vision_config
    unit = vision.patch_size * vision.spatial_merge_size
    layers = 1 + len(getattr(vision, "deepstack_visual_indexes", ()))
    shape = Grid(max(1, round(SIDE / unit)) * unit, vision.patch_size, layers * vision.hidden_size)
    return Tower(native_card(origin, shape, final_norm=False), tower, Flat(vision))


def _mergers(model: Any) -> nn.Module:
    tower, merge = model.model.visual, model.config.vision_config.spatial_merge_size
    mergers = [tower.merger]
    tower.merger = Unmerged(merge)
    if "deepstack_merger_list" in dict(tower.named_children()):
        mergers += list(tower.deepstack_merger_list)
        tower.deepstack_merger_list = nn.ModuleList(Unmerged(merge) for _ in tower.deepstack_merger_list)
    return Mergers(mergers, merge)


def _three(layout: Layout) -> dict[str, Any]:
    return {"position_ids": rotary_3BL(layout)}


def _three_and_deep(layout: Layout) -> dict[str, Any]:
    if not layout.deep:
        return _three(layout)
    deep = [layer.flatten(0, 1) for layer in layout.deep]
    return _three(layout) | {"visual_pos_masks": layout.is_image_BL, "deepstack_visual_embeds": deep}


def _windows(config: Any) -> str:
    vision = config.vision_config
    whole = ", ".join(str(block) for block in vision.fullatt_block_indexes)
    return f"windows of {vision.window_size} pixels; every patch sees every patch in blocks {whole}"


ROTARY = ("position_ids: M-RoPE 3 × B × L, image a square grid", "attention_mask: causal")


def _rotary(config: Any) -> Reading:
    return Reading(_three, ROTARY)


def _rotary_and_deep(config: Any) -> Reading:
    layers = len(config.vision_config.deepstack_visual_indexes)
    return Reading(_three_and_deep, (*ROTARY, f"deepstack: {layers} layers, where the encoder gives them"), layers)


TURN = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{prompt}<|im_end|>\n<|im_start|>assistant\n"
QWEN2_5_VL = Family(
    title="Qwen2.5-VL",
    paper="arXiv:2502.13923",
    pixels=OPENAI,
    vision="model.visual",
    embeddings="model.language_model.embed_tokens",
    decoder="model.language_model",
    encode=_tower,
    project=_mergers,
    read=_rotary,
    template="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + TURN,
    vision_attention=_windows,
)
QWEN3_VL = replace(
    QWEN2_5_VL,
    title="Qwen3-VL",
    paper="arXiv:2511.21631",
    pixels=HALVES,
    read=_rotary_and_deep,
    template=TURN,
    vision_attention=all_see_all,
)
