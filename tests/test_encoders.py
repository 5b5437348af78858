"""The contract: raw frames in, tokens by the card out; a wrong card or a wrong image is refused.

Shapes: B batch  H W height and width  C colours  N image tokens  D encoder width  M tokens with prefix
"""

from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from encoders import tiny
from encoders.contract import Card, NotFrames
from encoders.errors import CardMismatch
from encoders.hf_vit import HfViT
from encoders.timm_vit import TimmViT
from encoders.torchvision_ops import ensure

# after our own modules, which make torchvision importable
from timm.models.vision_transformer import VisionTransformer  # isort: skip
from transformers import (  # isort: skip
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32}


def frames(height: int, width: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (batch, height, width, 3), dtype=torch.uint8, generator=generator)


def stated(**changes: Any) -> Card:
    """The tiny card with some facts changed."""
    return Card.model_validate(tiny.CARD.model_dump() | changes)


def tower(**changes: Any) -> VisionTransformer:
    """A random timm tower with a class token: 64 px, 16 patches, width 32, three blocks."""
    settings: dict[str, Any] = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 3, "num_heads": 2}
    return VisionTransformer(**(settings | changes)).eval()


def test_a_frame_of_the_cards_side_is_not_resampled():
    encoder = tiny.tiny_vit(tiny.CARD)
    image_BHWC = frames(64, 64)
    expected_BCHW = (image_BHWC.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    assert torch.equal(encoder.pixels_BCHW(image_BHWC), expected_BCHW)


def resize_error(image_BHWC: Tensor, interpolation: str) -> Tensor:
    """Grey levels between our resize to 64 px and Pillow's."""
    encoder = tiny.tiny_vit(stated(interpolation=interpolation))
    levels_HWC = (encoder.pixels_BCHW(image_BHWC)[0].permute(1, 2, 0) * 0.5 + 0.5) * 255
    picture = Image.fromarray(image_BHWC[0].numpy()).resize((64, 64), Image.Resampling[interpolation.upper()])
    return (levels_HWC.round() - torch.from_numpy(numpy.array(picture)).float()).abs()


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("height", "width"), [(90, 160), (5, 3), (64, 65)])
def test_noise_is_resized_as_pillow_does_it(interpolation: str, height: int, width: int):
    error = resize_error(frames(height, width, batch=1), interpolation)
    assert error.max() <= 1 and error.mean() < 0.02


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_a_portrait_is_resized_as_pillow_does_it(interpolation: str):
    """Shaded, with a hard edge, and nowhere saturated: newer Pillows may resize a portrait along its height first."""
    image_BHWC = torch.linspace(40, 120, 160).view(1, 160, 1, 1).repeat(1, 1, 90, 3).to(torch.uint8)
    image_BHWC[:, 50:90, 20:60] += torch.tensor([90, 20, 50], dtype=torch.uint8)
    assert resize_error(image_BHWC, interpolation).max() <= 1


def test_each_colour_has_its_own_statistics():
    encoder = tiny.tiny_vit(stated(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0)))
    pixels_BCHW = encoder.pixels_BCHW(torch.full((1, 64, 64, 3), 255, dtype=torch.uint8))
    assert pixels_BCHW[0, :, 0, 0].tolist() == pytest.approx([0.9, 0.4, 0.175])


def test_statistics_stay_exact_when_the_weights_are_half_precision():
    encoder = tiny.tiny_vit(tiny.CARD)
    full_BCHW = encoder.pixels_BCHW(frames(30, 40))
    encoder.to(torch.bfloat16)
    assert torch.equal(encoder.pixels_BCHW(frames(30, 40)), full_BCHW)
    assert encoder(frames(30, 40)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (torch.zeros(1, 64, 64, 3), "takes raw uint8 frames .* these are torch.float32"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), r"frames \[batch, height, width, 3\]; .* \[1, 3, 64, 64\]"),
        (torch.zeros(64, 64, 3, dtype=torch.uint8), r"these have the shape \[64, 64, 3\]"),
        (torch.zeros(1, 0, 64, 3, dtype=torch.uint8), r"these have the shape \[1, 0, 64, 3\]"),
    ],
)
def test_anything_but_raw_frames_is_refused_with_a_sentence(image: Tensor, sentence: str):
    with pytest.raises(NotFrames, match=sentence):
        tiny.tiny_vit(tiny.CARD)(image)


def test_a_card_that_states_other_tokens_raises_on_the_first_batch():
    encoder = tiny.tiny_vit(stated(tokens=17))
    with pytest.raises(CardMismatch, match="states 17 tokens of width 128, .* = \\[2, 16, 128\\]"):
        encoder(frames(64, 64))


@pytest.mark.parametrize("wrong", [{"side": 32}, {"prefix": 0}, {"dim": 33}])
def test_a_card_that_contradicts_its_tower_raises_when_it_is_built(wrong: dict[str, int]):
    right = {"side": 64, "prefix": 1, "dim": 32}
    TimmViT(stated(**right), tower())
    with pytest.raises(CardMismatch, match="'tiny' states"):
        TimmViT(stated(**(right | wrong)), tower())


def test_a_card_that_states_a_norm_the_tower_lacks_is_refused():
    with pytest.raises(CardMismatch, match="final norm"):
        TimmViT(stated(prefix=1, dim=32), tower(final_norm=False))


@pytest.mark.parametrize("layer", ["last", "penultimate"])
@pytest.mark.parametrize("final_norm", [True, False])
@torch.no_grad()
def test_the_readout_is_the_layer_and_norm_that_the_card_states(layer: str, final_norm: bool):
    own = tower(reg_tokens=4)
    encoder = TimmViT(stated(prefix=5, dim=32, layer=layer, final_norm=final_norm), tower(reg_tokens=4)).eval()
    encoder.tower.load_state_dict({key: own.state_dict()[key] for key in encoder.tower.state_dict()}, strict=True)
    read = {"last": 2, "penultimate": 1}[layer]
    pixels_BCHW = encoder.pixels_BCHW(frames(64, 64))
    readouts: Any = own.forward_intermediates(
        pixels_BCHW, indices=[read], norm=final_norm, output_fmt="NLC", intermediates_only=True
    )
    assert torch.equal(encoder(frames(64, 64)), readouts[0])
    assert len(encoder.blocks) == read + 1
    assert not any(key.startswith("head") for key in encoder.tower.state_dict())


def hf_towers() -> dict[str, PreTrainedModel]:
    return {
        "siglip": SiglipVisionModel(SiglipVisionConfig(**SMALL, intermediate_size=64, vision_use_head=False)),
        "clip": CLIPVisionModel(CLIPVisionConfig(**SMALL, intermediate_size=64, patch_size=16)),
        "dinov2": Dinov2Model(Dinov2Config(**SMALL, patch_size=16)),
    }


@pytest.mark.parametrize(("family", "prefix"), [("siglip", 0), ("clip", 1), ("dinov2", 1)])
@torch.no_grad()
def test_a_native_tower_is_read_as_it_is_under_its_own_names(family: str, prefix: int):
    native = hf_towers()[family].eval()
    facts = stated(side=32, tokens=4, dim=32, prefix=prefix, final_norm=family != "clip")
    encoder = HfViT(facts, native).eval()
    image_BHWC = frames(40, 50)
    seen_BMD = native(pixel_values=encoder.pixels_BCHW(image_BHWC)).last_hidden_state
    assert torch.equal(encoder(image_BHWC), seen_BMD[:, prefix:])
    assert list(encoder.state_dict()) == [f"tower.{key}" for key in native.state_dict()]
    assert all(mine is own for mine, own in zip(encoder.parameters(), native.parameters(), strict=True))
    assert len(encoder.blocks) == 3


@pytest.mark.parametrize(("family", "prefix"), [("siglip", 0), ("clip", 1), ("dinov2", 1)])
@torch.no_grad()
def test_a_native_tower_is_read_at_its_penultimate_layer_without_a_norm(family: str, prefix: int):
    """As LLaVA reads CLIP; what lies behind is taken out, and kept for an export."""
    native = hf_towers()[family].eval()
    names = set(native.state_dict())
    facts = stated(side=32, tokens=4, dim=32, prefix=prefix, layer="penultimate", final_norm=False)
    pixels_BCHW = tiny.tiny_vit(tiny.CARD).pixels_BCHW(frames(64, 64))[:, :, :32, :32]
    whole = native(pixel_values=pixels_BCHW, output_hidden_states=True).hidden_states
    encoder = HfViT(facts, native).eval()
    assert torch.equal(encoder.tokens(pixels_BCHW), whole[-2][:, prefix:])
    assert len(encoder.blocks) == 2
    assert set(encoder.tower.state_dict()) | set(encoder.unread) == names
    assert any(".2." in key for key in encoder.unread)


def test_a_native_tower_with_a_wrong_card_is_refused():
    native = hf_towers()["siglip"]
    with pytest.raises(CardMismatch, match="states 4 tokens of width 64"):
        HfViT(stated(side=32, tokens=4, dim=64), native)(frames(32, 32))
    with pytest.raises(CardMismatch, match="states a final norm, but its CLIPVisionModel has none"):
        HfViT(stated(side=32, tokens=4, dim=32, prefix=1), hf_towers()["clip"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens": 0},
        {"std": (0.5, 0.0, 0.5)},
        {"mean": (127.5, 127.5, 127.5)},
        {"mean": (0.5, 0.5, 0.5, 0.5)},
        {"mean": (0.5,) * 6},
        {"width": 1},
    ],
)
def test_a_card_is_parsed_strictly_and_frozen(wrong: dict[str, Any]):
    with pytest.raises(ValidationError):
        stated(**wrong)
    with pytest.raises(ValidationError, match="frozen"):
        tiny.CARD.side = 32  # pyright: ignore[reportAttributeAccessIssue]


def test_torchvision_imports_however_often_it_is_asked_for():
    ensure()
    ensure()
    from torchvision.transforms.functional import InterpolationMode

    assert InterpolationMode.BICUBIC.value == "bicubic"
