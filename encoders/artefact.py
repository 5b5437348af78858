"""A trained encoder as files that its own library loads without this project: weights, their card, a configuration."""

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never

import torch
from torch import nn

from encoders.contract import Card, Encoder
from encoders.errors import UnsupportedEncoder
from encoders.export import check_one_model, export_state_dict, save_export
from encoders.hub import FILE
from encoders.registry import CONTROLS, ENCODERS, card
from encoders.tower_inputs import required_inputs

Form = Literal["timm", "hf", "open-clip", "folder"]
"""Whose configuration stands beside the weights; `folder`: none, the card alone."""

FORMS: dict[str, Form] = {"timm": "timm", "transformers": "hf", "open_clip": "open-clip"}
"""The package that a tower's class comes from → what its own library reads."""

CARD = "card.json"
NATIVE = "transformers:"
"""How the source of a backbone's own tower begins: no name of the registry leads to it."""

PILLOW = {"bilinear": 2, "bicubic": 3}  # Pillow's own numbers


@dataclass(frozen=True)
class TimmModel:
    """A model as `timm.create_model(architecture, num_classes=0, **arguments)` makes it."""

    architecture: str
    arguments: dict[str, Any]


def own_form(encoder: Encoder) -> Form:
    """What the library that the encoder's tower comes from reads. Raises `UnsupportedEncoder` for no one's model."""
    check_one_model(encoder)
    return FORMS[type(encoder.get_submodule("tower")).__module__.partition(".")[0]]


def write_artefact(encoder: Encoder, folder: Path, form: Form) -> None:
    """`model.safetensors`, `card.json` and, by `form`, what a library reads beside them, into an empty `folder`.

    - timm: timm's hub `config.json`, for `timm.create_model("local-dir:FOLDER", pretrained=True)`.
    - hf: `config.json` for `AutoModel.from_pretrained(FOLDER)`, and `preprocessor_config.json` where the tower takes
      one square picture (Qwen's takes patches that its family's processor cuts).
    - open-clip: nothing; the weights are those of `open_clip.create_model(NAME).visual`.

    Raises `UnsupportedEncoder` where the encoder is another library's, or its library could not make it again.
    """
    own = own_form(encoder)
    if form not in (own, "folder"):
        raise UnsupportedEncoder(f"'{encoder.card.name}' is a model of {_package(own)}: export it with --to {own}.")
    match form:
        case "timm":
            _write(folder / "config.json", _timm_config(encoder))
        case "hf":
            _write_hf(encoder, folder)
        case "open-clip" | "folder":
            pass
        case _:
            assert_never(form)
    name = named(encoder.card) or encoder.card.name
    _write(folder / CARD, encoder.card.model_copy(update={"name": name}).model_dump(mode="json"))
    save_export(encoder, folder / FILE)


def named(facts: Card) -> str | None:
    """The encoder's name without the file or the control that its weights came from; None for a native tower.

    `NAME@FOLDER/model.safetensors` is the artefact.
    """
    if facts.source.startswith(NATIVE):
        return None
    name = facts.name
    while (source := ENCODERS[name].source if name in ENCODERS else name).partition(":")[0] in CONTROLS:
        name = source.partition(":")[2]
    return name.partition("@")[0]


def study_name(encoder: Encoder, written: Path, form: Form, folder: str) -> str | None:
    """The name under which `encoders.registry` reads an artefact that is `written`, once it lies in `folder`.

    None for a native tower that no name leads to: one written for another form, or one that `hf:` does not read.
    """
    tower: Any = encoder.get_submodule("tower")
    if form == "hf" and takes_one_picture(tower) and tower.main_input_name == "pixel_values":
        words = _readout(card(f"hf:{written}"), encoder.card)
        return f"hf:{folder}{'#' if words else ''}{words}"
    name = named(encoder.card)
    return name and f"{name}@{folder}/{FILE}"


def timm_model(encoder: Encoder) -> TimmModel:
    """How timm makes the encoder's tower."""
    from timm import get_pretrained_cfg

    from encoders import tiny

    tower: Any = encoder.get_submodule("tower")
    if encoder.card.source == tiny.CARD.source:
        return TimmModel("vit_tiny_patch16_224", _sizes(tower))
    architecture = tower.pretrained_cfg["architecture"]
    settings: Any = get_pretrained_cfg(architecture)
    return TimmModel(architecture, {"img_size": encoder.card.side} if settings.fixed_input_size else {})


def takes_one_picture(tower: nn.Module) -> bool:
    """Whether a tower of transformers needs nothing but `pixel_values`."""
    return set(required_inputs(tower)) <= {"pixel_values"}


def _timm_config(encoder: Encoder) -> dict[str, Any]:
    """As timm writes it for the hub: what makes the model, and how its pictures are prepared."""
    from timm import get_pretrained_cfg

    model, facts, tower = timm_model(encoder), encoder.card, encoder.get_submodule("tower")
    _check_tensors(model, encoder)
    settings: Any = get_pretrained_cfg(model.architecture)
    return {
        "architecture": model.architecture,
        "num_classes": 0,
        "num_features": tower.num_features,
        "model_args": model.arguments,
        "pretrained_cfg": {
            "num_classes": 0,
            "input_size": [3, facts.side, facts.side],
            "fixed_input_size": settings.fixed_input_size,
            "interpolation": facts.interpolation,
            "crop_pct": 1.0,
            "crop_mode": facts.resize,
            "mean": facts.mean,
            "std": facts.std,
            "first_conv": settings.first_conv,
            "classifier": settings.classifier,
            "custom_load": False,
            "license": facts.licence,
        },
    }


def _check_tensors(model: TimmModel, encoder: Encoder) -> None:
    """Raises `UnsupportedEncoder` where timm's own model has other tensors, as towers that open_clip changed may."""
    from timm import create_model

    with torch.device("meta"):
        theirs = create_model(model.architecture, num_classes=0, **model.arguments).state_dict()
    ours = export_state_dict(encoder)
    if {key: value.shape for key, value in theirs.items()} != {key: value.shape for key, value in ours.items()}:
        raise UnsupportedEncoder(
            f"'{encoder.card.name}' has other tensors than timm's own {model.architecture}: export it with --to folder."
        )


def _sizes(tower: Any) -> dict[str, Any]:
    return {
        "img_size": tower.patch_embed.img_size[0],
        "patch_size": tower.patch_embed.patch_size[0],
        "embed_dim": tower.embed_dim,
        "depth": len(tower.blocks),
        "num_heads": tower.blocks[0].attn.num_heads,
        "class_token": tower.has_class_token,
        "global_pool": tower.global_pool,
    }


def _write_hf(encoder: Encoder, folder: Path) -> None:
    from transformers import MODEL_MAPPING, ViTImageProcessor

    tower, facts = encoder.get_submodule("tower"), encoder.card
    configuration: Any = deepcopy(tower.config)
    if type(configuration) not in MODEL_MAPPING or MODEL_MAPPING[type(configuration)] is not type(tower):
        raise UnsupportedEncoder(
            f"transformers has no AutoModel for the {type(tower).__name__} of '{facts.name}': "
            "export it with --to folder."
        )
    configuration.architectures = [type(tower).__name__]
    configuration.dtype = next(tower.parameters()).dtype
    configuration.save_pretrained(folder)
    if takes_one_picture(tower):
        ViTImageProcessor(
            size={"height": facts.side, "width": facts.side},
            resample=PILLOW[facts.interpolation],
            image_mean=list(facts.mean),
            image_std=list(facts.std),
        ).save_pretrained(folder)


def _readout(theirs: Card, ours: Card) -> str:
    """The words of `A#WORDS` that make one card's readout the other's; none where it is."""
    words = [ours.layer] if ours.layer != theirs.layer else []
    words += ["norm" if ours.final_norm else "no-norm"] if ours.final_norm != theirs.final_norm else []
    words += ["prefix"] if ours.prefix != theirs.prefix else []
    return ",".join(words)


def _package(form: Form) -> str:
    return next(package for package, own in FORMS.items() if own == form)


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
