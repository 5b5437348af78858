"""One test over the whole table: a row added to it is tested the day it is added.

Shapes: B batch  H W height and width  C colours  N image tokens  D encoder width
"""

import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from encoders.contract import Encoder
from encoders.hub import WeightsMissing
from encoders.registry import ENCODERS, FORMS, UnknownEncoder, build_encoder, card, parameters
from encoders.torchvision_ops import ensure
from encoders.unread import unread_parameters

ensure()  # the libraries import torchvision

import timm  # noqa: E402

TIMM_ROWS = [name for name, row in ENCODERS.items() if row.source.startswith("timm:")]
DINOV2 = "vit_small_patch14_dinov2.lvd142m"
REAL = ("tiny", "dinov2-small", "siglip-base", "resnet-18", "raw-patches")
"""Rows small enough to be built here at their real size."""


@pytest.fixture(scope="module", params=REAL)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return build_encoder(request.param, weights="random", seed=0).eval()


@pytest.fixture(scope="module", params=ENCODERS)
def outline(request: pytest.FixtureRequest) -> Encoder:
    """Any row at its real size on the meta device: shapes without memory, 7B included."""
    with torch.device("meta"):
        return build_encoder(request.param, weights="random", seed=0).eval()


def noise(height: int, width: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (batch, height, width, 3), dtype=torch.uint8, generator=generator)


def test_a_row_states_the_tokens_width_and_parameters_of_its_architecture_and_nothing_of_it_is_unread(outline: Encoder):
    row, facts = ENCODERS[outline.card.name], outline.card
    stated = (facts.side, facts.tokens, facts.dim, facts.prefix, facts.layer, facts.final_norm)
    assert stated == (row.side, row.tokens, row.dim, row.prefix, row.layer, row.final_norm)
    assert sum(p.numel() for p in outline.parameters()) == row.parameters == parameters(row.name)
    assert unread_parameters(outline) == set()  # runs it: CardMismatch if its tokens were not the card's


def test_the_blocks_hold_most_of_a_row(outline: Encoder):
    inside = sum(p.numel() for block in outline.blocks for p in block.parameters())
    assert inside >= 0.8 * sum(p.numel() for p in outline.parameters())


@torch.no_grad()
def test_portraits_tiny_frames_and_frames_of_the_cards_side_give_what_the_card_states(encoder: Encoder):
    facts = encoder.card
    for height, width in [(160, 90), (3, 2), (facts.side, facts.side)]:
        assert encoder(noise(height, width)).shape == (1, facts.tokens, facts.dim)


def test_every_parameter_moves_the_tokens(encoder: Encoder):
    if encoder.card.name == "raw-patches":
        assert not list(encoder.parameters())
        return
    seen_BND = encoder(noise(64, 64))
    seen_BND.backward(torch.randn(seen_BND.shape, generator=torch.Generator().manual_seed(0)))
    dead = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    encoder.zero_grad()
    assert not dead


def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_generator_alone(encoder: Encoder):
    before = torch.random.get_rng_state()
    again = build_encoder(encoder.card.name, weights="random", seed=0)
    assert torch.equal(before, torch.random.get_rng_state())
    first, second = encoder.state_dict(), again.state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_another_seed_gives_other_bits():
    first, second = (build_encoder("tiny", weights="random", seed=seed).state_dict() for seed in (0, 1))
    assert not torch.equal(first["tower.pos_embed"], second["tower.pos_embed"])


def test_listing_the_rows_imports_no_library_and_their_cards_only_timm():
    script = (
        "import sys; from encoders.registry import ENCODERS, card; heavy = ('timm', 'transformers', 'open_clip');"
        "print([name for name in heavy if name in sys.modules]); [card(name) for name in ENCODERS];"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.stdout.split("\n")[:2] == ["[]", "['timm']"], done.stderr


@pytest.mark.parametrize("name", ENCODERS)
def test_a_row_is_named_as_its_card_and_says_where_it_comes_from(name: str):
    assert card(name).name == name
    assert card(name).paper.startswith("https://arxiv.org/abs/")
    assert ENCODERS[name].readout
    assert card(name).licence and card(name).source


@pytest.mark.parametrize("name", TIMM_ROWS)
def test_a_timm_card_states_what_timm_states(name: str):
    facts = timm.get_pretrained_cfg(card(name).source.removeprefix("timm:"), allow_unregistered=False)
    assert facts is not None
    stated = (card(name).mean, card(name).std, card(name).interpolation, card(name).licence)
    assert stated == (facts.mean, facts.std, facts.interpolation, facts.license)
    resampled = 518 if name.startswith("dinov2") else card(name).side  # published at another side than it is read at
    assert facts.input_size[-1] == resampled


def test_imagenet_statistics_belong_to_dinov2_and_halves_to_siglip():
    assert card("dinov2-small").mean == (0.485, 0.456, 0.406)
    assert card("dinov2-small").std == (0.229, 0.224, 0.225)
    assert card("siglip-base").mean == card("siglip-base").std == (0.5, 0.5, 0.5)


def test_an_unknown_name_gets_the_nearest_one_and_all_of_them():
    with pytest.raises(UnknownEncoder) as caught:
        build_encoder("dinov2-smal", weights="random", seed=0)
    assert str(caught.value).startswith("No encoder named 'dinov2-smal'. Did you mean 'dinov2-small'? Known: ")
    assert all(name in str(caught.value) for name in [*ENCODERS, *FORMS])
    with pytest.raises(UnknownEncoder, match="^No encoder named 'zzz'. Known: "):
        card("zzz")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache of this test's own, and no network: what HF_HUB_CACHE and HF_HUB_OFFLINE set."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.mark.parametrize("name", TIMM_ROWS)
def test_missing_weights_are_named_with_the_way_to_fetch_them(name: str, empty_cache: Path):
    model = card(name).source.removeprefix("timm:").replace("_quickgelu", "")  # the same weights
    with pytest.raises(WeightsMissing, match=f"hf download timm/{model} model.safetensors"):
        build_encoder(name, weights="pretrained", seed=0)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("clip-laion-base", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K open_clip_model.safetensors"),
        ("dinov2-siglip", "timm/vit_large_patch14_reg4_dinov2.lvd142m model.safetensors"),
        ("dinov2-base-shuffled", "timm/vit_base_patch14_dinov2.lvd142m model.safetensors"),
        ("hf:google/siglip-base-patch16-224", "google/siglip-base-patch16-224 config.json"),
    ],
)
def test_missing_weights_of_other_libraries_are_named_too(name: str, file: str, empty_cache: Path):
    with pytest.raises(WeightsMissing, match=f"hf download {file}"):
        build_encoder(name, weights="pretrained", seed=0)


def test_an_unreachable_hub_is_reported_without_retries(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsMissing, match="hf download"):
        build_encoder("dinov2-small", weights="pretrained", seed=0)
    assert "Retrying" not in caplog.text


def test_an_encoder_without_published_weights_says_so():
    with pytest.raises(WeightsMissing, match='No weights of "tiny" were published'):
        build_encoder("tiny", weights="pretrained", seed=0)


def cached_file(cache: Path) -> Path:
    """Where the hub's client keeps DINOv2-S."""
    repository = cache / f"models--timm--{DINOV2}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    return snapshot / "model.safetensors"


def test_cached_weights_are_loaded_as_timm_loads_them(empty_cache: Path):
    published = build_encoder("dinov2-small", weights="random", seed=7).state_dict()
    published = {key.removeprefix("tower."): value for key, value in published.items()}
    side = 518 // 14  # patches along an edge of the published position embeddings
    published["pos_embed"] = torch.randn(1, 1 + side**2, 384, generator=torch.Generator().manual_seed(0))
    save_file(published, cached_file(empty_cache))
    ours = build_encoder("dinov2-small", weights="pretrained", seed=0)
    theirs = timm.create_model(DINOV2, pretrained=True, img_size=224, num_classes=0, global_pool="").state_dict()
    assert all(torch.equal(theirs[key.removeprefix("tower.")], value) for key, value in ours.state_dict().items())
    assert torch.equal(theirs["blocks.3.attn.qkv.weight"], published["blocks.3.attn.qkv.weight"])


def test_a_damaged_weights_file_is_named(empty_cache: Path):
    file = cached_file(empty_cache)
    save_file({"pos_embed": torch.zeros(100)}, file)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(WeightsMissing, match=r"model\.safetensors is damaged .* Delete it and fetch it again"):
        build_encoder("dinov2-small", weights="pretrained", seed=0)
