"""Any model of timm by its name (`timm:ARCHITECTURE.TAG`): its card, and the encoder that the card describes.

Shapes: B batch  N image tokens  D encoder width  h w positions of a feature map
"""

import difflib
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from encoders.checkpoint import check_keys, read_checkpoint, safetensors_keys
from encoders.contract import Card, Encoder, Facts, Interpolation
from encoders.errors import UnknownEncoder, UnsupportedEncoder, WeightsMismatch, WeightsMissing
from encoders.hub import FILE, weights_file
from encoders.timm_map import TimmMap, channels_last
from encoders.timm_vit import TimmViT, Tower
from encoders.torchvision_ops import ensure
from encoders.unread import take_out_unread

ensure()  # timm imports torchvision

import timm  # noqa: E402
from timm.models import PretrainedCfg, ResNet  # noqa: E402

PREFIX = "timm:"
HUB_FILES = (FILE, "open_clip_model.safetensors")  # the second: weights that timm shares with open_clip


def timm_facts(model: str) -> Facts:
    """timm's own statistics of `model` (architecture.tag), from its pretrained configuration."""
    facts = _configuration(model)
    return Facts(
        source=PREFIX + model,
        mean=tuple(facts.mean),
        std=tuple(facts.std),
        interpolation=_interpolation(facts, model),
        licence=str(facts.license or f"not stated by timm: see https://huggingface.co/{facts.hf_hub_id}"),
    )


def timm_card(model: str) -> Card:
    """A card derived from the architecture on the meta device: the last layer, with the norm where there is one.

    That is timm's `forward_features`. Raises `UnknownEncoder`, and `UnsupportedEncoder` for a model that gives neither
    tokens of one grid nor a feature map.
    """
    side = int(_configuration(model).input_size[-1])
    with torch.device("meta"):
        tower = _create(model, side)
        seen = tower.eval().forward_features(torch.empty(1, 3, side, side))
    if isinstance(tower, Tower):
        prefix, norm = tower.num_prefix_tokens, not isinstance(tower.norm, nn.Identity)
        tokens, dim = seen.shape[1] - prefix, seen.shape[2]
    elif isinstance(seen, Tensor) and seen.ndim == 4:
        prefix, norm = 0, False
        tokens, dim = seen[0, ..., 0].numel(), seen.shape[-1]
        if not channels_last(tower):
            tokens, dim = seen[0, 0].numel(), seen.shape[1]
    else:
        raise UnsupportedEncoder(
            f"'{PREFIX}{model}' is a {type(tower).__name__}; image tokens are read from timm's VisionTransformer, Eva "
            "and Beit classes and from networks that end in a feature map."
        )
    return Card(
        name=PREFIX + model,
        side=side,
        tokens=tokens,
        dim=dim,
        resize="squash",
        layer="last",
        prefix=prefix,
        final_norm=norm,
        paper=f"https://huggingface.co/{_configuration(model).hf_hub_id}",
        **timm_facts(model),
    )


def build_timm(card: Card, weights: Literal["random", "pretrained"] | Path, **sizes: Any) -> Encoder:
    """The encoder that the card describes, position embeddings resampled to its side.

    `random`: timm's own initialisation from the global generator, but for ResNet's residual branches that start at
    zero. `pretrained`: timm's published weights. A path: a
    file in any format that timm converts for this architecture, with or without its classifier; every key must fit.
    `sizes` are timm's own arguments (`depth`, `embed_dim`, …) for a smaller double of the architecture.
    Raises `WeightsMissing` and `WeightsMismatch`.
    """
    model = card.source.removeprefix(PREFIX)
    if weights == "random":
        tower = _create(model, card.side, **sizes)
        if isinstance(tower, ResNet):
            # by default its residual branches are scaled by zero at first: no gradient would reach what lies in them
            tower = _create(model, card.side, zero_init_last=False, **sizes)
    else:
        tower = _load(model, card.side, weights if isinstance(weights, Path) else _published(model), sizes)
    if isinstance(tower, Tower):
        return TimmViT(card, tower)
    encoder = TimmMap(card, tower)
    take_out_unread(encoder)
    return encoder


def _create(model: str, side: int, **settings: Any) -> Any:
    arguments: dict[str, Any] = {"num_classes": 0} | settings
    if _configuration(model).fixed_input_size:
        arguments["img_size"] = side
    return timm.create_model(model, **arguments)


def _load(model: str, side: int, file: Path, sizes: dict[str, Any]) -> Any:
    what = f"The file {file} for '{PREFIX}{model}'"
    if file.suffix == ".safetensors":
        keys, overlay = safetensors_keys(file), {"file": str(file)}
    else:
        tensors = read_checkpoint(file)
        keys, overlay = set(tensors), {"state_dict": tensors}
    with torch.device("meta"):
        headless = set(_create(model, side, **sizes).state_dict())
    if keys < headless:
        check_keys(missing=headless - keys, unexpected=set(), what=what)
    # a file with a classifier is loaded into the model with it: timm is strict only where both have the same
    classes = 0 if keys == headless else _configuration(model).num_classes
    overlay |= {"num_classes": classes, "custom_load": False}
    try:
        tower = _create(model, side, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes, **sizes)
    except RuntimeError as error:  # torch lists missing and unexpected keys and wrong shapes
        raise WeightsMismatch(f"{what} does not fit: {' '.join(str(error).split())[:1000]}") from error
    tower.pretrained_cfg.pop("state_dict", None)  # a copy of all weights
    if classes:
        tower.reset_classifier(0)
    return tower


def _published(model: str) -> Path:
    repository = _configuration(model).hf_hub_id
    if repository is None:
        raise WeightsMissing(f"timm has no published weights of '{model}'. Use weights = \"random\".")
    return weights_file(repository, names=HUB_FILES)


def _configuration(model: str) -> PretrainedCfg:
    if not timm.is_model(model):
        near = difflib.get_close_matches(model, timm.list_models(pretrained=True), n=3, cutoff=0.5)
        raise UnknownEncoder(f"timm has no model '{model}'. Nearest: {', '.join(near) or 'none'}.")
    facts = timm.get_pretrained_cfg(model, allow_unregistered=False)
    if facts is None:
        raise UnsupportedEncoder(f"timm states no configuration for '{model}', so its statistics are not known.")
    return facts


def _interpolation(facts: PretrainedCfg, model: str) -> Interpolation:
    match facts.interpolation:
        case "bicubic" | "bilinear":
            return facts.interpolation
        case other:
            raise UnsupportedEncoder(f"'{PREFIX}{model}' resizes by {other}; the choices are bicubic and bilinear.")
