"""The language slot of every family: one layout, and what each decoder wants to be told about it.

A sequence is: the words before the image, the image, the other words, padding, the suffix, padding.
Shapes: B batch  N image tokens  T word tokens  S tokens of the suffix  L = N + T + S positions  E language width
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from workbench.backbones.contract import Hidden, Language, blocks_of


@dataclass(frozen=True)
class Layout:
    """Where what stands: `mask_BL` is 1 at a token, the image is at `image_at : image_at + image_tokens`.

    The last `suffix` positions are the suffix. `deep` holds the image's deepstack layers, each [B, N, E]; empty for a
    decoder or an encoder without them.
    """

    mask_BL: Tensor
    image_at: int
    image_tokens: int
    suffix: int
    deep: tuple[Tensor, ...]

    @property
    def is_image_BL(self) -> Tensor:
        """True where an image token stands."""
        image_BL = torch.zeros_like(self.mask_BL, dtype=torch.bool)
        image_BL[:, self.image_at : self.image_at + self.image_tokens] = True
        return image_BL

    def positions_BL(self, first: int) -> Tensor:
        """One number a token from `first` on; padding repeats the number before it."""
        return self.mask_BL.cumsum(dim=1) + (first - 1)


Extras = Callable[[Layout], dict[str, Any]]
"""What a decoder is given beside embeddings and attention mask."""


@dataclass(frozen=True)
class Reading:
    """How a decoder reads: its extras, the same in words, and how many deepstack layers it takes."""

    extras: Extras
    passes: tuple[str, ...]
    deepstack: int = 0


class Decoder(Language):
    """`base` is transformers' own decoder (or the model around it), its embeddings taken out."""

    def __init__(self, base: nn.Module, reading: Reading, *, width: int, image_at: int, window: int | None) -> None:
        super().__init__()
        self.base = base
        self.reading = reading
        self.width = width
        self.image_at = image_at
        self.window = window
        self.passes = reading.passes

    @property
    def blocks(self) -> list[nn.Module]:
        return blocks_of(self.base)

    def forward(
        self,
        seen_BNE: Tensor,
        words_BTE: Tensor,
        mask_BT: Tensor,
        suffix_BSE: Tensor,
        suffix_mask_BS: Tensor | None = None,
    ) -> Hidden:
        batch, tokens = seen_BNE.shape[:2]
        suffix = suffix_BSE.shape[1]
        image_BNE, *deep = seen_BNE.split(self.width, dim=-1)
        self._check(image_BNE, deep, tokens + mask_BT.shape[1] + suffix)
        suffix_BSE = suffix_BSE.to(image_BNE.dtype).expand(batch, -1, -1)
        before, after = slice(None, self.image_at), slice(self.image_at, None)
        image_BN = mask_BT.new_ones(batch, tokens)
        suffix_BS = mask_BT.new_ones(batch, suffix) if suffix_mask_BS is None else suffix_mask_BS
        mask_BL = torch.cat([mask_BT[:, before], image_BN, mask_BT[:, after], suffix_BS], dim=1)
        layout = Layout(mask_BL, self.image_at, tokens, suffix, tuple(deep))
        prefix = (words_BTE[:, before], image_BNE, words_BTE[:, after])
        if self.prefix_once and self._still(seen_BNE, words_BTE):
            return Hidden(self._read_in_two(torch.cat(prefix, dim=1), suffix_BSE, layout), mask_BL)
        hidden_BLE = self.base(
            inputs_embeds=torch.cat([*prefix, suffix_BSE], dim=1),
            attention_mask=mask_BL,
            use_cache=False,
            **self.reading.extras(layout),
        ).last_hidden_state
        return Hidden(hidden_BLE, mask_BL)

    def _still(self, *given: Tensor) -> bool:
        """Whether gradients are wanted, and none for what is given nor in here; an outline (meta) is of the whole."""
        if not torch.is_grad_enabled() or given[0].is_meta:
            return False
        return not any(t.requires_grad for t in (*given, *self.parameters()))

    def _read_in_two(self, prefix_BPE: Tensor, suffix_BSE: Tensor, layout: Layout) -> Tensor:
        """Hidden states `[B, L, E]`: of the prefix, where nothing has a gradient, and of the suffix from its cache."""
        from transformers import DynamicCache

        cache, length = DynamicCache(), prefix_BPE.shape[1]
        before = replace(layout, mask_BL=layout.mask_BL[:, :length], suffix=0)
        behind = self.reading.extras(replace(layout, deep=()))
        prefix_BPE = self.base(
            inputs_embeds=prefix_BPE,
            attention_mask=before.mask_BL,
            past_key_values=cache,
            use_cache=True,
            **self.reading.extras(before),
        ).last_hidden_state
        suffix_BSE = self.base(
            inputs_embeds=suffix_BSE,
            attention_mask=layout.mask_BL,
            past_key_values=cache,
            use_cache=True,
            **{name: tensor_BL[..., length:].contiguous() for name, tensor_BL in behind.items()},
        ).last_hidden_state
        return torch.cat([prefix_BPE, suffix_BSE], dim=1)

    def _check(self, image_BNE: Tensor, deep: list[Tensor], length: int) -> None:
        widths = {image_BNE.shape[-1], *(layer.shape[-1] for layer in deep)}
        if widths != {self.width} or len(deep) not in (0, self.reading.deepstack):
            raise ValueError(
                f"This decoder of width {self.width} takes image tokens of that width, alone or with "
                f"{self.reading.deepstack} deepstack layers; these have {image_BNE.shape[-1] + self.width * len(deep)}."
            )
        if self.window is not None and length > self.window:
            # the window counts padding, so that a padded row would see less than the same row alone
            raise ValueError(f"A sequence of {length} positions is longer than the sliding window of {self.window}.")


def causal(layout: Layout) -> dict[str, Any]:
    """Llama, Qwen 2 and their like: positions from 0, each token sees those before it."""
    return {"position_ids": layout.positions_BL(0)}


CAUSAL = Reading(causal, ("position_ids: 1-D from 0", "attention_mask: causal"))


def rotary_3BL(layout: Layout) -> Tensor:
    """Multimodal rotary positions (Qwen2-VL, arXiv:2409.12191 §2.1): time, row and column.

    Words count on in all three; the image's N tokens are a square grid where N is a square, else one row; the words
    after it go on from the larger edge.
    """
    tokens, start = layout.image_tokens, layout.image_at
    edge = math.isqrt(tokens)
    rows, columns = (edge, edge) if edge * edge == tokens else (1, tokens)
    places_3BL = layout.positions_BL(0).repeat(3, 1, 1)
    place_N = torch.arange(tokens, device=places_3BL.device)
    grid_3N = torch.stack([torch.zeros_like(place_N), place_N // columns, place_N % columns])
    places_3BL[:, :, start : start + tokens] = start + grid_3N[:, None]
    places_3BL[:, :, start + tokens :] += max(rows, columns) - tokens
    return places_3BL


def decoder_window(config: Any) -> int | None:
    """The sliding window of a text configuration, where any of its layers has one."""
    layers = getattr(config, "layer_types", None) or ()
    return config.sliding_window if "sliding_attention" in layers else None
