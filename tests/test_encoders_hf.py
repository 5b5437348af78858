"""Any vision tower of transformers as an encoder, from a folder that transformers saved.

Shapes: B batch  H W height and width  C colours  M tokens with prefix  D encoder width
"""

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from frames import shaded
from PIL import Image
from safetensors.torch import load_file, save_file

from encoders.contract import Encoder
from encoders.errors import UnsupportedEncoder, WeightsMismatch, WeightsMissing
from encoders.export import export_state_dict
from encoders.registry import build_encoder, card, parameters
from encoders.torchvision_ops import ensure
from encoders.unread import unread_parameters

ensure()  # the libraries import torchvision

import transformers  # noqa: E402
from transformers import AutoModel, PreTrainedConfig  # noqa: E402

TOWER: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32}
SIZES = {**TOWER, "intermediate_size": 48, "patch_size": 16}
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 64}
TEXT |= {"bos_token_id": 1, "eos_token_id": 2}
FAMILIES: dict[str, PreTrainedConfig] = {
    "siglip": transformers.SiglipVisionConfig(**SIZES),
    "clip": transformers.CLIPVisionConfig(**SIZES),
    "vit": transformers.ViTConfig(**SIZES),
    "dinov2": transformers.Dinov2Config(**TOWER, patch_size=16),
    "dinov2-registers": transformers.Dinov2WithRegistersConfig(**TOWER, patch_size=16),
    "dinov3": transformers.DINOv3ViTConfig(**SIZES, num_register_tokens=4),
    "aimv2": transformers.Aimv2VisionConfig(**SIZES),
}
PREFIX = {"siglip": 0, "clip": 1, "vit": 1, "dinov2": 1, "dinov2-registers": 5, "dinov3": 5, "aimv2": 0}


def processor(**changes: Any) -> Any:
    settings: dict[str, Any] = {"size": {"height": 32, "width": 32}, "image_mean": [0.4, 0.5, 0.6]}
    settings |= {"image_std": [0.2, 0.25, 0.3], "resample": 3, "do_resize": True, "do_normalize": True}
    return transformers.ViTImageProcessor(**(settings | changes))


def saved(folder: Path, configuration: PreTrainedConfig, **changes: Any) -> tuple[str, Any]:
    """A random model of transformers in a local folder, every parameter moved off its initial value."""
    torch.manual_seed(0)
    model: Any = AutoModel.from_config(configuration).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    processor(**changes).save_pretrained(folder)
    return f"hf:{folder}", model


@pytest.fixture(scope="module", params=FAMILIES)
def tower(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Encoder]:
    name, model = saved(tmp_path_factory.mktemp(request.param), FAMILIES[request.param])
    encoder = build_encoder(name, weights="pretrained", seed=0).eval()
    assert encoder.card.prefix == PREFIX[request.param]
    assert encoder.card.final_norm == (request.param != "clip")
    return name, model, encoder


@torch.no_grad()
def test_a_tower_of_transformers_gives_its_own_last_hidden_state(tower: tuple[str, Any, Encoder]):
    name, model, encoder = tower
    seen_BMD = model(pixel_values=encoder.pixels_BCHW(shaded(40, 60))).last_hidden_state
    assert torch.equal(encoder(shaded(40, 60)), seen_BMD[:, encoder.card.prefix :])
    assert (encoder.card.side, encoder.card.tokens, encoder.card.dim) == (32, 4, 32)
    assert parameters(name) == sum(p.numel() for p in encoder.parameters())
    assert unread_parameters(encoder) == set()
    assert len(encoder.blocks) == 3


@torch.no_grad()
def test_a_tower_of_transformers_is_exported_as_its_own_class_loads_it(tower: tuple[str, Any, Encoder]):
    _, model, encoder = tower
    again = type(model)(model.config).eval()
    again.load_state_dict(export_state_dict(encoder), strict=True)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())


@pytest.mark.parametrize(("height", "width"), [(90, 160), (160, 90), (5, 3)], ids=["landscape", "portrait", "tiny"])
@pytest.mark.parametrize("resample", [2, 3], ids=["bilinear", "bicubic"])
def test_pixels_are_those_of_the_image_processor(height: int, width: int, resample: int, tmp_path: Path):
    name, _ = saved(tmp_path, FAMILIES["vit"], resample=resample)
    encoder = build_encoder(name, weights="random", seed=0)
    picture = Image.fromarray(numpy.asarray(shaded(height, width)[0]))
    theirs_BCHW = transformers.AutoImageProcessor.from_pretrained(tmp_path)(picture, return_tensors="pt")[
        "pixel_values"
    ]
    std_C11 = torch.tensor(encoder.card.std).view(3, 1, 1)
    difference = (encoder.pixels_BCHW(shaded(height, width)) - theirs_BCHW) * std_C11 * 255
    assert difference.abs().max() < 1.01


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
@torch.no_grad()
def test_the_tower_of_a_whole_model_is_read_and_its_text_model_left(kind: str, tmp_path: Path):
    whole = getattr(transformers, f"{kind}Config")(text_config=TEXT, vision_config=SIZES)
    name, model = saved(tmp_path, whole)
    encoder = build_encoder(name, weights="pretrained", seed=0).eval()
    seen_BMD = model.vision_model(pixel_values=encoder.pixels_BCHW(shaded(40, 60))).last_hidden_state
    assert torch.equal(encoder(shaded(40, 60)), seen_BMD[:, encoder.card.prefix :])


@torch.no_grad()
def test_the_tower_of_a_classifier_is_read_though_it_has_no_pooler_and_a_head(tmp_path: Path):
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES)).eval()
    model.save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    encoder = build_encoder(f"hf:{tmp_path}", weights="pretrained", seed=0).eval()
    seen_BMD: Any = model.vit(pixel_values=encoder.pixels_BCHW(shaded(40, 60))).last_hidden_state
    assert torch.equal(encoder(shaded(40, 60)), seen_BMD[:, 1:])


def test_a_folder_with_foreign_missing_or_no_tensors_is_refused(tmp_path: Path):
    name, model = saved(tmp_path, FAMILIES["vit"])
    state = load_file(tmp_path / "model.safetensors")
    save_file(state | {"stray.weight": torch.zeros(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsMismatch, match="unexpected stray.weight"):
        build_encoder(name, weights="pretrained", seed=0)
    del state["layernorm.bias"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsMismatch, match="missing layernorm.bias"):
        build_encoder(name, weights="pretrained", seed=0)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsMissing, match="holds no model.safetensors"):
        build_encoder(name, weights="pretrained", seed=0)
    encoder = build_encoder(f"{name}@{tmp_path / 'pytorch_model.bin'}", weights="pretrained", seed=0)
    assert torch.equal(encoder.state_dict()["tower.layernorm.bias"], model.state_dict()["layernorm.bias"])
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsMissing, match="holds no preprocessor_config.json"):
        card(name)


def test_what_is_no_tower_of_one_grid_is_refused_with_the_reason(tmp_path: Path):
    masked, _ = saved(tmp_path / "mae", transformers.ViTMAEConfig(**SIZES))
    with pytest.raises(UnsupportedEncoder, match="ViTMAEModel.*not the 4 patches"):
        card(masked)
    ragged, _ = saved(tmp_path / "naflex", transformers.Siglip2VisionConfig(**SIZES, num_patches=4))
    with pytest.raises(UnsupportedEncoder, match="Siglip2VisionModel, which takes more than one square picture"):
        card(ragged)
    lanczos, _ = saved(tmp_path / "lanczos", FAMILIES["vit"], resample=1)
    with pytest.raises(UnsupportedEncoder, match="filter 1"):
        card(lanczos)
