"""Encoders that are no row: any model of timm and open_clip, a control, two fused.

Shapes: B batch  C colours  N image tokens  D encoder width
"""

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from frames import shaded
from PIL import Image
from safetensors.torch import save_file

from encoders.errors import CardMismatch, EncoderError, UnknownEncoder, UnsupportedEncoder
from encoders.export import export_state_dict, save_export
from encoders.registry import build_encoder, card
from encoders.torchvision_ops import ensure
from encoders.unread import unread_parameters

ensure()  # the libraries import torchvision

import open_clip  # noqa: E402
import timm  # noqa: E402
from open_clip.transform import image_transform  # noqa: E402


@pytest.mark.parametrize("name", ["test_vit.r160_in1k", "test_convnext.r160_in1k", "test_efficientnet.r160_in1k"])
@torch.no_grad()
def test_any_model_of_timm_is_read_as_its_forward_features(name: str):
    encoder = build_encoder(f"timm:{name}", weights="random", seed=0).eval()
    upstream: Any = timm.create_model(name, num_classes=0).eval()
    upstream.load_state_dict(export_state_dict(encoder), strict=True)
    whole: Any = upstream.forward_features(encoder.pixels_BCHW(shaded(90, 160)))
    expected = whole.flatten(2).transpose(1, 2) if whole.ndim == 4 else whole[:, encoder.card.prefix :]
    assert torch.equal(encoder(shaded(90, 160)), expected)
    assert encoder.card.source == f"timm:{name}" and encoder.card.mean == tuple(upstream.pretrained_cfg["mean"])


@pytest.mark.parametrize(
    ("name", "tokens", "dim", "blocks"),
    [("swin_tiny_patch4_window7_224.ms_in1k", 49, 768, 4), ("beit_base_patch16_224", 196, 768, 12)],
)
def test_maps_with_their_channels_last_and_other_transformers_are_read_too(
    name: str, tokens: int, dim: int, blocks: int
):
    with torch.device("meta"):
        encoder = build_encoder(f"timm:{name}", weights="random", seed=0)
    assert (encoder.card.tokens, encoder.card.dim, len(encoder.blocks)) == (tokens, dim, blocks)
    frame_BHWC = torch.empty(1, 224, 224, 3, dtype=torch.uint8, device="meta")
    assert encoder(frame_BHWC).shape == (1, tokens, dim)


OPEN_CLIP = ["ViT-B-16/laion2b_s34b_b88k", "ViT-B-16-SigLIP/webli", "RN50/yfcc15m"]


@pytest.mark.parametrize("name", OPEN_CLIP)
def test_any_image_tower_of_open_clip_has_its_librarys_pixels_and_nothing_unread(name: str):
    architecture, _, tag = name.partition("/")
    if tag == "yfcc15m":
        name = f"{architecture}-quickgelu/{tag}"
    with torch.device("meta"):
        encoder = build_encoder(f"open_clip:{name}", weights="random", seed=0)
    side = encoder.card.side
    assert encoder(torch.empty(1, side, side, 3, dtype=torch.uint8, device="meta")).shape[1:] == (
        encoder.card.tokens,
        encoder.card.dim,
    )
    assert unread_parameters(encoder) == set()
    stated = open_clip.get_pretrained_cfg(architecture, tag)
    settings = {key: stated[key] for key in ("mean", "std", "interpolation")}
    transform: Any = image_transform(side, is_train=False, resize_mode="squash", **settings)
    theirs_CHW = transform(Image.fromarray(numpy.asarray(shaded(90, 160)[0])))
    std_C11 = torch.tensor(encoder.card.std).view(3, 1, 1)
    assert ((encoder.pixels_BCHW(shaded(90, 160))[0] - theirs_CHW) * std_C11 * 255).abs().max() < 1.01


def test_an_open_clip_row_states_what_open_clip_states():
    for name in ("clip-laion-base", "clip-laion-large"):
        stated, own = card(name), card(card(name).source)
        same = ("source", "side", "tokens", "dim", "mean", "std", "interpolation", "layer", "prefix", "final_norm")
        assert [getattr(stated, key) for key in same] == [getattr(own, key) for key in same]


def test_weights_under_another_activation_than_theirs_are_refused():
    with pytest.raises(UnsupportedEncoder, match="use 'open_clip:ViT-B-16-quickgelu/openai'"):
        card("open_clip:ViT-B-16/openai")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("timm:vit_smal_patch14_dinov2.lvd142m", "timm has no model .*vit_small_patch14_dinov2.lvd142m"),
        ("open_clip:ViT-B-16/laion", "open_clip has no 'ViT-B-16/laion'.*Nearest: ViT-B-16"),
        ("open_clip:ViT-B-16", "open_clip has no 'ViT-B-16'"),
        ("hf:not a name", "neither a folder here nor a hub id"),
        ("fused:tiny", "write 'fused:A\\+B'"),
        ("shuffled:tyni", "No encoder named 'tyni'. Did you mean 'tiny'"),
        ("tyni@weights.safetensors", "No encoder named 'tyni'. Did you mean 'tiny'"),
    ],
)
def test_a_name_that_stands_for_nothing_is_refused_with_the_nearest(name: str, sentence: str):
    with pytest.raises(UnknownEncoder, match=sentence):
        card(name)
    assert issubclass(UnknownEncoder, EncoderError)


@pytest.mark.parametrize(
    ("words", "read", "norm", "start"),
    [("penultimate", 1, True, 1), ("penultimate,no-norm", 1, False, 1), ("last,prefix", 2, True, 0)],
)
@torch.no_grad()
def test_a_readout_can_be_asked_for_by_name(words: str, read: int, norm: bool, start: int, tmp_path: Path):
    upstream: Any = timm.create_model("test_vit.r160_in1k", num_classes=0).eval()
    depth = len(upstream.blocks) - 3  # so that 2 is the last one
    save_file(upstream.state_dict(), tmp_path / "weights.safetensors")
    name = f"timm:test_vit.r160_in1k#{words}@{tmp_path / 'weights.safetensors'}"
    encoder = build_encoder(name, weights="pretrained", seed=0).eval()
    block, prefix = upstream.forward_intermediates(
        encoder.pixels_BCHW(shaded(90, 160)),
        [depth + read],
        norm=norm,
        output_fmt="NLC",
        intermediates_only=True,
        return_prefix_tokens=True,
    )[0]
    expected_BND = torch.cat([prefix, block], dim=1)[:, start:]
    assert torch.equal(encoder(shaded(90, 160)), expected_BND)
    shuffled = card(f"shuffled:{name}")
    assert (shuffled.layer, shuffled.kept) == (encoder.card.layer, 1 - start)


@torch.no_grad()
def test_open_clips_class_token_can_be_kept():
    with torch.device("meta"):
        encoder = build_encoder("clip-laion-base#prefix", weights="random", seed=0)
    frame_BHWC = torch.empty(1, 224, 224, 3, dtype=torch.uint8, device="meta")
    assert encoder(frame_BHWC).shape == (1, 197, 768) and encoder.card.kept == 1


def test_a_control_or_fused_row_follows_the_readout_that_is_asked_for():
    with torch.device("meta"):
        control = build_encoder("dinov2-base-random#penultimate", weights="random", seed=0)
        fused = build_encoder("dinov2-siglip#last", weights="random", seed=0)
    assert (len(control.blocks), len(fused.blocks)) == (11, 27)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tiny#middle", "'middle' is no readout of 'tiny'; choose of last, penultimate"),
        ("tiny#prefix", "no prefix tokens"),
        ("dinov2-siglip#prefix", "no prefix tokens"),
        ("raw-patches#penultimate", "it has no layers"),
        ("resnet-18#norm", "it is read at the last stage"),
    ],
)
def test_a_readout_that_an_encoder_lacks_is_refused(name: str, sentence: str):
    with pytest.raises(EncoderError, match=sentence):
        build_encoder(name, weights="random", seed=0)


def test_two_encoders_with_different_grids_cannot_be_fused():
    with pytest.raises(CardMismatch, match="cannot be fused token by token: tokens 256 and 196"):
        card("fused:dinov2-small+siglip-base")


def test_shuffled_weights_are_the_same_numbers_in_another_order(tmp_path: Path):
    save_export(build_encoder("tiny", weights="random", seed=5), tmp_path / "mine.safetensors")
    name = f"tiny@{tmp_path / 'mine.safetensors'}"
    right = build_encoder(name, weights="pretrained", seed=0)
    first, again, other = (build_encoder(f"shuffled:{name}", weights="pretrained", seed=seed) for seed in (1, 1, 2))
    for key, value in right.state_dict().items():
        assert torch.equal(first.state_dict()[key].flatten().sort().values, value.flatten().sort().values)
        assert torch.equal(first.state_dict()[key], again.state_dict()[key])
    key = "tower.blocks.0.attn.qkv.weight"
    assert not torch.equal(first.state_dict()[key], right.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])


def test_the_random_control_is_random_whatever_weights_are_asked_for():
    drawn = build_encoder("random:tiny", weights="pretrained", seed=3)
    assert drawn.card.name == "random:tiny" and drawn.card.dim == 128
    expected = build_encoder("tiny", weights="random", seed=3).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in drawn.state_dict().items())


def test_fused_blocks_are_counted_from_the_readout_and_the_pair_has_no_export():
    with torch.device("meta"):
        fused = build_encoder("dinov2-siglip", weights="random", seed=0)
    last, first = list(fused.blocks[-1].children()), list(fused.blocks[0].children())
    assert (len(fused.blocks), len(last), len(first)) == (26, 2, 1)
    with pytest.raises(UnsupportedEncoder, match="export its members first and second"):
        export_state_dict(fused)


@torch.no_grad()
def test_an_encoder_of_timm_sees_pictures_of_another_size_as_timm_itself_does():
    facts = card("timm:test_vit.r160_in1k#96px,prefix")
    assert (facts.side, facts.tokens) == (96, 36 + facts.kept) and facts.kept > 0
    assert card("timm:test_vit.r160_in1k#prefix,96px").tokens == facts.tokens
    assert card("dinov2-small#56px").tokens == 16 and card("resnet-18#64px").tokens == 4
    encoder = build_encoder("timm:test_vit.r160_in1k#96px", weights="random", seed=0)
    own: Any = timm.create_model("test_vit.r160_in1k", num_classes=0, img_size=96).eval()
    own.load_state_dict(encoder.tower.state_dict())  # type: ignore[union-attr]
    seen = encoder.eval()(frames := shaded(96, 96))
    assert torch.equal(seen, own.forward_features(encoder.pixels_BCHW(frames))[:, own.num_prefix_tokens :])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dinov2-small#57px", "patches of 14 px"),
        ("dinov2-small#0px", "a multiple of that, not 0"),
        ("tiny#32px", "no other size"),
        ("dinov2-small#56", "is no readout"),
    ],
)
def test_a_size_that_an_encoder_cannot_see_is_told(name: str, said: str):
    with pytest.raises(EncoderError, match=said):
        card(name)
