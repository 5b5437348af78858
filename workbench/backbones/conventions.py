"""A family that is not listed: taken apart by the library's conventions, and refused where that loses anything.

The convention is LLaVA's: a base with `vision_tower`, `multi_modal_projector` and `language_model`, a placeholder
token's id in the configuration, `get_image_features` and `get_decoder`. Nothing is guessed: before a model is taken
apart its own forward is run on a picture and a few words, and the slots must give the same.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workbench.backbones.decoder import CAUSAL
from workbench.backbones.family import Family, Slots, always, taken
from workbench.backbones.towers import HALVES, Origin, Tower, at_layer, grid, siglip
from workbench.errors import UserError

PARTS = ("vision_tower", "multi_modal_projector", "language_model")
TOLERANCE = 1e-4
"""Of the largest final hidden state, in float32."""
ERRORS = (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError)
"""What a class's own forward raises where it is given too little, or slots that do not fit together."""


def conventional(model: Any, name: str) -> Family:
    """The family of a model that follows the convention. Raises UserError with the reason for one that does not."""
    config, base = model.config, model.base_model
    parts = dict(base.named_children())
    lacking = [part for part in PARTS if part not in parts]
    if lacking:
        raise _refused(name, config, f"its {type(base).__name__} has no {', '.join(lacking)}")
    if not isinstance(getattr(config, "image_token_id", None), int):
        raise _refused(name, config, "its configuration names no image_token_id")
    if base.get_decoder() is not parts["language_model"] or "get_image_features" not in dir(base):
        raise _refused(name, config, "it has no get_image_features, or get_decoder gives another module")
    strange = [key for key, _ in base.named_parameters() if key.split(".")[0] not in PARTS]
    if strange:
        raise _refused(name, config, f"it has parameters of no slot: {', '.join(strange[:3])}")
    return Family(
        title=config.model_type,
        paper="not listed",
        pixels=HALVES,
        vision="model.vision_tower",
        embeddings="model.language_model.embed_tokens",
        decoder="model.language_model",
        encode=_tower,
        project=_flat,
        read=always(CAUSAL),
        template="",
    )


class Flat(nn.Module):
    """[B, N, D] → [B, M, E]: the class's own projector; some give rows and columns of tokens."""

    def __init__(self, native: nn.Module) -> None:
        super().__init__()
        self.native = native

    def forward(self, seen_BND: Tensor) -> Tensor:
        return self.native(seen_BND).flatten(1, -2)


def _flat(model: Any) -> nn.Module:
    return Flat(taken("model.multi_modal_projector")(model))


def _tower(tower: nn.Module, config: Any, origin: Origin) -> Tower:
    if getattr(config, "vision_feature_layer", None) is None:
        return siglip(tower, config, origin)
    if getattr(config, "vision_feature_select_strategy", None) not in ("default", "full"):
        raise _refused(origin.name, config, "it reads a vision layer, but says nothing of its class token")
    return at_layer(tower, config, origin)


@dataclass(frozen=True)
class Probe:
    """A picture and a few words, and the last position's hidden state by the whole model's own forward."""

    name: str
    config: Any
    pixels_BCHW: Tensor
    words_BT: Tensor
    tokens: int
    last_BE: Tensor

    def confirm(self, slots: Slots) -> None:
        """Raises UserError where the slots do not give what the whole model gave."""
        try:
            error = self._error(slots)
        except ERRORS as raised:
            raise _refused(self.name, self.config, f"taken apart by the convention it fails ({raised})") from raised
        if not error <= TOLERANCE * float(self.last_BE.abs().max()):
            reason = f"taken apart by the convention it computes something else (by {error:.2g})"
            raise _refused(self.name, self.config, reason)

    @torch.no_grad()
    def _error(self, slots: Slots) -> float:
        modules = tuple(vars(slots).values())
        modes = [module.training for module in modules]
        for module in modules:
            module.eval()
        seen_BNE = slots.projector(slots.vision.tokens(self.pixels_BCHW))
        words_BTE = slots.embeddings(self.words_BT)
        mask_BT = torch.ones_like(self.words_BT[:, :-1])
        hidden = slots.language(seen_BNE, words_BTE[:, :-1], mask_BT, words_BTE[:, -1:])
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)
        return float((hidden.query_BE - self.last_BE).abs().max()) if seen_BNE.shape[1] == self.tokens else math.inf


def probe(model: Any, name: str, image_at: int) -> Probe:
    """Runs the whole model before it is taken apart, `image_at` words before the image.

    Raises UserError where its class wants more than ids and pixels.
    """
    config = model.config
    side, width = grid(config.vision_config).side, config.get_text_config().hidden_size
    pixels_BCHW = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    # any words but the placeholder will do; the last one stands where the query will
    words_BT = torch.tensor([[word for word in range(image_at + 4) if word != config.image_token_id]])
    mode = model.training
    model.eval()
    try:
        with torch.no_grad():
            features = model.base_model.get_image_features(pixel_values=pixels_BCHW).pooler_output
            tokens = sum(one.numel() for one in features) // width
            places = torch.full((1, tokens), config.image_token_id)
            ids = torch.cat([words_BT[:, :image_at], places, words_BT[:, image_at:]], dim=1)
            given = dict(input_ids=ids, pixel_values=pixels_BCHW, attention_mask=torch.ones_like(ids))
            last_BE = model.base_model(**given).last_hidden_state[:, -1]
    except ERRORS as error:
        raise _refused(name, config, f"its forward wants more than ids and pixels ({error})") from error
    model.train(mode)
    return Probe(name, config, pixels_BCHW, words_BT, tokens, last_BE)


def _refused(name: str, config: Any, reason: str) -> UserError:
    return UserError(
        f"The backbone {name!r} is a {config.model_type!r}, which is not a listed family, and cannot be taken apart by "
        f"convention: {reason}. `workbench inspect` shows listed ones; a new family is one row of FAMILIES."
    )
