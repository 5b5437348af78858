"""Any image tower of open_clip by its names (`open_clip:ARCHITECTURE/TAG`): its card, and the encoder.

Shapes: see open_clip_vit.py
"""

import difflib
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch

from encoders.checkpoint import load_strictly, read_checkpoint
from encoders.contract import Card, Encoder, Facts
from encoders.errors import UnknownEncoder, UnsupportedEncoder, WeightsMissing
from encoders.hub import weights_file
from encoders.open_clip_vit import ModifiedResNet, OpenClipResNet, OpenClipViT, VisionTransformer
from encoders.timm_map import TimmMap
from encoders.timm_vit import TimmViT, Tower
from encoders.unread import take_out_unread

import open_clip  # isort: skip  # after our own modules, which make torchvision importable
from open_clip.model import _build_vision_tower  # isort: skip  # the tower alone: no text model is built

PREFIX = "open_clip:"
HUB_FILE = "open_clip_model.safetensors"


def open_clip_facts(name: str) -> Facts:
    """open_clip's own statistics of `ARCHITECTURE/TAG`; licences are not part of its configuration."""
    tag = _tag(name)
    if tag["interpolation"] not in ("bicubic", "bilinear"):
        raise UnsupportedEncoder(
            f"'{PREFIX}{name}' resizes by {tag['interpolation']}; the choices are bicubic and bilinear."
        )
    return Facts(
        source=PREFIX + name,
        mean=tuple(tag["mean"]),
        std=tuple(tag["std"]),
        interpolation=tag["interpolation"],
        licence=f"not stated by open_clip: see {_home(tag)}",
    )


def open_clip_card(name: str) -> Card:
    """A card derived from the architecture on the meta device.

    open_clip's transformers are read as LLaVA-1.5 reads CLIP (arXiv:2310.03744): the penultimate layer, without class
    token and norm. Towers that it takes from timm and its ResNets are read at the last layer, as timm's.
    """
    with torch.device("meta"):
        tower = _tower(name).eval()
        side = tower.image_size if isinstance(tower, ModifiedResNet) else tower.image_size[0]
        pixels = torch.empty(1, 3, side, side)
        if isinstance(tower, VisionTransformer):
            layer, prefix, norm = "penultimate", 1, False
            tokens, dim = tower.grid_size[0] * tower.grid_size[1], tower.conv1.out_channels
        elif isinstance(tower, ModifiedResNet):
            layer, prefix, norm = "last", 0, False
            tokens, dim = (side // 32) ** 2, tower.attnpool.q_proj.in_features
        else:
            return _trunk_card(name, tower.trunk, pixels)
    return _card(name, side=side, tokens=tokens, dim=dim, layer=layer, prefix=prefix, final_norm=norm)


def build_open_clip(card: Card, weights: Literal["random", "pretrained"] | Path, **sizes: Any) -> Encoder:
    """The encoder that the card describes.

    `random`: open_clip's own initialisation from the global generator. `pretrained`: the published weights of the
    tag. A path: a file of the tower alone, or of a whole CLIP, of which `visual.` is read; every key must fit.
    `sizes` are changes of open_clip's `vision_cfg`. Raises `WeightsMissing` and `WeightsMismatch`.
    """
    name = card.source.removeprefix(PREFIX)
    file = _published(name) if weights == "pretrained" else weights
    tower = _tower(name, **sizes)
    if isinstance(file, Path):
        tensors = read_checkpoint(file)
        if any(key.startswith("visual.") for key in tensors):
            tensors = {k.removeprefix("visual."): v for k, v in tensors.items() if k.startswith("visual.")}
        load_strictly(tower, tensors, f"The file {file} for '{card.source}'")
    if isinstance(tower, VisionTransformer):
        return OpenClipViT(card, tower)
    if isinstance(tower, ModifiedResNet):
        return OpenClipResNet(card, tower)
    if isinstance(tower.trunk, Tower):
        return TimmViT(card, tower.trunk)
    encoder = TimmMap(card, tower.trunk)
    take_out_unread(encoder)
    return encoder


def _tower(name: str, **sizes: Any) -> Any:
    configuration = deepcopy(open_clip.get_model_config(name.partition("/")[0]))
    tag = _tag(name)  # also says whether there is such a name
    assert configuration is not None
    fast = bool(configuration.get("quick_gelu", False))
    if tag.get("quick_gelu", False) and not fast and "timm_model_name" not in configuration["vision_cfg"]:
        architecture, _, weights = name.partition("/")
        raise UnsupportedEncoder(
            f"The weights '{weights}' were trained with QuickGELU, which '{architecture}' does not have: "
            f"use '{PREFIX}{architecture}-quickgelu/{weights}'."
        )
    return _build_vision_tower(configuration["embed_dim"], configuration["vision_cfg"] | sizes, fast)


def _trunk_card(name: str, trunk: Any, pixels: torch.Tensor) -> Card:
    seen, side = trunk.forward_features(pixels), pixels.shape[-1]
    if isinstance(trunk, Tower):
        prefix, norm = trunk.num_prefix_tokens, not isinstance(trunk.norm, torch.nn.Identity)
        tokens = seen.shape[1] - prefix
        return _card(name, side=side, tokens=tokens, dim=seen.shape[2], layer="last", prefix=prefix, final_norm=norm)
    if seen.ndim != 4:
        raise UnsupportedEncoder(f"'{PREFIX}{name}' is timm's {type(trunk).__name__}, which gives no grid of tokens.")
    tokens, dim = seen[0, 0].numel(), seen.shape[1]
    return _card(name, side=side, tokens=tokens, dim=dim, layer="last", prefix=0, final_norm=False)


def _card(name: str, **readout: Any) -> Card:
    home = _home(_tag(name))
    return Card(name=PREFIX + name, resize="squash", paper=home, **readout, **open_clip_facts(name))


def _tag(name: str) -> dict[str, Any]:
    architecture, _, weights = name.partition("/")
    known = [f"{model}/{tag}" for model, tag in open_clip.list_pretrained()]
    tag = open_clip.get_pretrained_cfg(architecture, weights)
    if not tag:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise UnknownEncoder(f"open_clip has no '{name}' (architecture/tag). Nearest: {', '.join(near) or 'none'}.")
    return tag


def _home(tag: dict[str, Any]) -> str:
    return f"https://huggingface.co/{tag['hf_hub'].strip('/')}" if tag["hf_hub"] else tag["url"]


def _published(name: str) -> Path:
    repository = _tag(name)["hf_hub"].rstrip("/")
    if repository.count("/") != 1:  # elsewhere, or a file of its own: pickles
        raise WeightsMissing(
            f"The weights '{name}' are not published as safetensors. Save them so: '{PREFIX}{name}@FILE'."
        )
    return weights_file(repository, names=(HUB_FILE,))
