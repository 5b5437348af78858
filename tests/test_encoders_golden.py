"""One test over the whole registry: our tokens and pixels are those of the library that the encoder comes from.

Large architectures stand as smaller doubles: the same class and settings, less depth and width, every parameter
moved off its initial value, saved by the library and loaded through our door.

Shapes: B batch  H W height and width  C colours  N image tokens  D encoder width
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from frames import shaded
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from encoders.contract import Card, Encoder
from encoders.export import export_state_dict
from encoders.fused import Fused
from encoders.libraries import library
from encoders.open_clip_vit import VisionTransformer as OpenClipTower
from encoders.patches import RawPatches
from encoders.registry import ENCODERS, card
from encoders.timm_map import TimmMap
from encoders.tiny import tiny_vit

# after our own modules, which make torchvision importable
import open_clip  # isort: skip
import timm  # isort: skip
from open_clip.model import _build_vision_tower  # isort: skip
from open_clip.transform import image_transform  # isort: skip
from timm.data.config import resolve_data_config  # isort: skip
from timm.data.transforms_factory import create_transform  # isort: skip

TRANSFORMER: dict[str, Any] = {"embed_dim": 96, "depth": 3, "num_heads": 3}
CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "convnext": {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)},
    "resnet": {"layers": (1, 1, 1, 1), "channels": (8, 16, 24, 32)},
}
OPEN_CLIP = {"layers": 3, "width": 64, "head_width": 32}


@dataclass(frozen=True)
class Double:
    """An encoder of ours, the library's model without a head, and how the library itself prepares a frame."""

    encoder: Encoder
    upstream: nn.Module
    fresh: Callable[[], nn.Module]
    transforms: list[Any]


def moved(model: nn.Module) -> nn.Module:
    """Biases, norms, layer scales and embeddings off the zeros and ones (or 1e-5) at which a wrong readout hides."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator) / max(1, parameter.ndim - 1)
    return model.eval()


def timm_double(facts: Card, folder: Path) -> Double:
    model = facts.source.removeprefix("timm:")
    sizes = next((own for start, own in CONVOLUTIONS.items() if model.startswith(start)), TRANSFORMER)
    settings: Any = timm.get_pretrained_cfg(model)
    side: dict[str, Any] = {} if sizes is not TRANSFORMER else {"img_size": facts.side}

    def fresh() -> nn.Module:
        return timm.create_model(model, num_classes=0, **side, **sizes)

    upstream: Any = moved(fresh())
    state = {key: value.clone() for key, value in upstream.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    small = facts.model_copy(update={"dim": upstream.num_features})
    settings = resolve_data_config(pretrained_cfg=settings.to_dict())
    settings |= {"input_size": (3, facts.side, facts.side), "crop_pct": 1.0, "crop_mode": "squash"}
    build: Any = library("timm").build
    encoder = build(small, folder / "model.safetensors", **sizes)
    return Double(encoder.eval(), upstream, fresh, [create_transform(**settings, is_training=False)])


def open_clip_double(facts: Card, folder: Path) -> Double:
    architecture, _, tag = facts.source.removeprefix("open_clip:").partition("/")
    configuration: Any = open_clip.get_model_config(architecture)

    def fresh() -> nn.Module:
        return _build_vision_tower(configuration["embed_dim"], configuration["vision_cfg"] | OPEN_CLIP)

    upstream = moved(fresh())
    state = {f"visual.{key}": value.clone() for key, value in upstream.state_dict().items()}
    save_file(state | {"logit_scale": torch.zeros(1)}, folder / "open_clip_model.safetensors")
    build: Any = library("open_clip").build
    small = facts.model_copy(update={"dim": OPEN_CLIP["width"]})
    encoder = build(small, folder / "open_clip_model.safetensors", **OPEN_CLIP)
    stated = open_clip.get_pretrained_cfg(architecture, tag)
    settings = {name: stated[name] for name in ("mean", "std", "interpolation")}
    transform = image_transform(facts.side, is_train=False, resize_mode="squash", **settings)
    return Double(encoder.eval(), upstream, fresh, [transform])


def double(name: str, folder: Path) -> Double:
    """Of a control: of the encoder that it controls for."""
    facts, source = card(name), ENCODERS[name].source
    match source.partition(":")[0]:
        case "random" | "shuffled":
            return double(source.partition(":")[2], folder)
        case "timm":
            return timm_double(facts, folder)
        case "open_clip":
            return open_clip_double(facts, folder)
        case _:
            raise AssertionError(f"'{name}' has no library's model of its own")


def own_tokens(upstream: Any, encoder: Encoder, pixels_BCHW: Tensor) -> Tensor:
    """The library's own intermediate at the layer, and with the norm, that the card states."""
    facts = encoder.card
    if isinstance(upstream, OpenClipTower):
        read = {"last": [2], "penultimate": [1]}[facts.layer]
        seen = upstream.forward_intermediates(
            pixels_BCHW, read, normalize_intermediates=facts.final_norm, intermediates_only=True, output_fmt="NLC"
        )
        return seen["image_intermediates"][0]
    if isinstance(encoder, TimmMap):
        return upstream.forward_features(pixels_BCHW).flatten(2).transpose(1, 2)
    read = {"last": [2], "penultimate": [1]}[facts.layer]
    return upstream.forward_intermediates(
        pixels_BCHW, read, norm=facts.final_norm, output_fmt="NLC", intermediates_only=True
    )[0]


LIBRARY_ROWS = [name for name in ENCODERS if ENCODERS[name].source.startswith(("timm:", "open_clip:"))]


@pytest.fixture(scope="module", params=LIBRARY_ROWS)
def row(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Double:
    return double(request.param, tmp_path_factory.mktemp("weights"))


@torch.no_grad()
def test_tokens_are_the_librarys_own(row: Double):
    pixels_BCHW = row.encoder.pixels_BCHW(shaded(90, 160))
    expected_BND = own_tokens(row.upstream, row.encoder, pixels_BCHW)
    assert torch.equal(row.encoder(shaded(90, 160)), expected_BND)
    upstream: Any = row.upstream
    if row.encoder.card.layer == "last" and not isinstance(row.encoder, TimmMap):
        whole_BMD = upstream.forward_features(pixels_BCHW)
        assert torch.equal(expected_BND, whole_BMD[:, row.encoder.card.prefix :])


def off_by(encoder: Encoder, transforms: list[Any], image_BHWC: Tensor) -> float:
    """The largest difference in grey levels between our pixels and the library's."""
    picture = Image.fromarray(numpy.asarray(image_BHWC[0]))
    theirs_CHW = torch.cat([transform(picture) for transform in transforms])
    std_C11 = torch.tensor(encoder.card.std).view(-1, 1, 1)
    return float(((encoder.pixels_BCHW(image_BHWC)[0] - theirs_CHW) * std_C11 * 255).abs().max())


SHAPES = pytest.mark.parametrize(
    ("height", "width"), [(90, 160), (160, 90), (5, 3)], ids=["landscape", "portrait", "tiny"]
)


@SHAPES
def test_pixels_are_the_librarys_own_to_within_a_grey_level(row: Double, height: int, width: int):
    assert off_by(row.encoder, row.transforms, shaded(height, width)) < 1.01


@torch.no_grad()
def test_an_export_loads_strictly_into_the_librarys_own_class(row: Double):
    again = row.fresh()
    again.load_state_dict(export_state_dict(row.encoder), strict=True)
    pixels_BCHW = row.encoder.pixels_BCHW(shaded(64, 64))
    assert torch.equal(own_tokens(again.eval(), row.encoder, pixels_BCHW), row.encoder(shaded(64, 64)))


def test_every_row_is_compared_with_its_library():
    left = {name for name in ENCODERS if name not in LIBRARY_ROWS}
    controls = {name for name in left if ENCODERS[name].source.startswith(("random:", "shuffled:"))}
    assert left - controls == {"tiny", "dinov2-siglip", "raw-patches"}
    assert {ENCODERS[name].source.partition(":")[2] for name in controls} <= set(LIBRARY_ROWS)


@torch.no_grad()
def test_tiny_is_timms_own_class():
    encoder = tiny_vit(card("tiny")).eval()
    pixels_BCHW = encoder.pixels_BCHW(shaded(90, 160))
    assert torch.equal(encoder(shaded(90, 160)), encoder.tower.forward_features(pixels_BCHW))


@SHAPES
@torch.no_grad()
def test_the_fused_row_is_both_libraries_models_on_their_own_pixels(height: int, width: int, tmp_path: Path):
    facts, readout = card("dinov2-siglip"), {"layer": "penultimate", "final_norm": False}
    members: list[Double] = []
    for name in ("dinov2-large-registers", "siglip-so400m"):
        (tmp_path / name).mkdir()
        members.append(timm_double(card(name).model_copy(update=readout), tmp_path / name))
    first, second = (member.encoder for member in members)
    fused = Fused(facts.model_copy(update={"dim": first.card.dim + second.card.dim}), first, second).eval()
    assert off_by(fused, [*members[0].transforms, *members[1].transforms], shaded(height, width)) < 1.01
    expected = [
        own_tokens(one.upstream, one.encoder, one.encoder.pixels_BCHW(shaded(height, width))) for one in members
    ]
    assert torch.equal(fused(shaded(height, width)), torch.cat(expected, dim=-1))


def test_raw_patches_are_the_unfolded_pixels():
    encoder = RawPatches(card("raw-patches"))
    pixels_BCHW = encoder.pixels_BCHW(shaded(90, 160))
    assert torch.equal(encoder(shaded(90, 160)), functional.unfold(pixels_BCHW, 14, stride=14).transpose(1, 2))


def test_a_wrong_readout_would_be_seen(tmp_path: Path):
    """The comparison above is worth something: another layer gives other tokens."""
    right = timm_double(card("clip-base"), tmp_path)
    wrong = replace(
        right, encoder=timm_double(card("clip-base").model_copy(update={"layer": "last"}), tmp_path).encoder
    )
    with torch.no_grad():
        pixels_BCHW = right.encoder.pixels_BCHW(shaded(64, 64))
        expected_BND = own_tokens(right.upstream, right.encoder, pixels_BCHW)
        assert not torch.allclose(wrong.encoder(shaded(64, 64)), expected_BND, atol=0.1)
