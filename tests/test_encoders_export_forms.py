"""The forms of an exported encoder over whole tables: every family's own tower, every readout, every class of timm.

The lines for a model card are run as they stand. Shapes: B batch  H W height and width  C colours  N image tokens
"""

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from frames import shaded
from PIL import Image
from tiny_vlms import TINY, make

from encoders.artefact import Form, named, own_form, study_name, timm_model, write_artefact
from encoders.contract import Encoder
from encoders.errors import UnsupportedEncoder
from encoders.hub import FILE
from encoders.loading import loading
from encoders.registry import ENCODERS, build_encoder, card
from encoders.torchvision_ops import ensure
from workbench.backbones.registry import load_backbone

ensure()  # the libraries import torchvision

import timm  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoModel, PreTrainedConfig  # noqa: E402

TOWER: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32}
SIZES = {**TOWER, "intermediate_size": 48, "patch_size": 16}
FAMILIES: dict[str, PreTrainedConfig] = {
    "siglip": transformers.SiglipVisionConfig(**SIZES),
    "clip": transformers.CLIPVisionConfig(**SIZES),
    "vit": transformers.ViTConfig(**SIZES),
    "dinov2": transformers.Dinov2Config(**TOWER, patch_size=16),
    "dinov3": transformers.DINOv3ViTConfig(**SIZES, num_register_tokens=4),
    "aimv2": transformers.Aimv2VisionConfig(**SIZES),
}
READ = [
    ("siglip", "#penultimate"),
    ("clip", "#penultimate,prefix"),
    ("vit", "#penultimate,no-norm"),
    ("dinov2", "#no-norm"),
    ("dinov3", "#prefix"),
    ("aimv2", ""),
]
PATCHES = ("qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")
"""Families whose tower takes patches that their own processor cuts."""
UNNAMED = ("idefics3", "smolvlm")
"""Families whose tower is an AutoModel, but which `hf:` does not read: pixels are not its main input."""


@torch.no_grad()
def hold_against(encoder: Encoder, folder: Path, form: Form) -> None:
    """The lines for the card give the encoder's tokens, of a frame that nobody resizes."""
    side = encoder.card.side
    frame_BHWC = shaded(side, side)
    known: dict[str, Any] = {"image": Image.fromarray(numpy.asarray(frame_BHWC[0]))}
    exec("\n".join(loading(encoder, form, str(folder))), known)
    torch.testing.assert_close(known["tokens"], encoder(frame_BHWC), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", TINY)
def test_every_familys_tower_is_an_automodel_or_refused_by_name(family: str, tmp_path: Path):
    make(family, tmp_path / "vlm")
    encoder = load_backbone(str(tmp_path / "vlm"), weights="pretrained", seed=0).vision.eval()
    folder = tmp_path / "eyes"
    folder.mkdir()
    assert own_form(encoder) == "hf" and named(encoder.card) is None
    if family == "kosmos-2":
        with pytest.raises(UnsupportedEncoder, match="no AutoModel for the Kosmos2VisionModel.*--to folder"):
            write_artefact(encoder, folder, "hf")
        write_artefact(encoder, folder, "folder")
        known = dict[str, Any]()
        exec("\n".join(loading(encoder, "folder", str(folder))), known)
        assert study_name(encoder, folder, "folder", "eyes") is None
        assert set(known["tensors"]) == set(encoder.get_submodule("tower").state_dict()) | set(encoder.unread)
        return
    write_artefact(encoder, folder, "hf")
    _, told = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(told.values())
    if family in PATCHES:
        assert not (folder / "preprocessor_config.json").exists()
        assert study_name(encoder, folder, "hf", "eyes") is None
        known = dict[str, Any]()
        exec("\n".join(loading(encoder, "hf", str(folder))), known)
        assert type(known["model"]) is type(encoder.get_submodule("tower"))
        return
    hold_against(encoder, folder, "hf")
    name = study_name(encoder, folder, "hf", str(folder))
    assert (name is None) == (family in UNNAMED)
    if name is None:
        return
    again = build_encoder(name, weights="pretrained", seed=0).eval()
    with torch.no_grad():
        side = encoder.card.side
        assert torch.equal(again(shaded(side + 9, side)), encoder(shaded(side + 9, side)))


@pytest.mark.parametrize(("family", "readout"), READ)
def test_a_tower_of_transformers_is_read_where_its_card_says(family: str, readout: str, tmp_path: Path):
    theirs, folder = tmp_path / "theirs", tmp_path / "ours"
    torch.manual_seed(0)
    model: Any = AutoModel.from_config(FAMILIES[family])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    model.save_pretrained(theirs)
    size, halves = {"height": 32, "width": 32}, [0.5] * 3
    transformers.ViTImageProcessor(size=size, resample=2, image_mean=halves, image_std=halves).save_pretrained(theirs)
    encoder = build_encoder(f"hf:{theirs}{readout}", weights="pretrained", seed=0).eval()
    folder.mkdir()
    write_artefact(encoder, folder, "hf")
    hold_against(encoder, folder, "hf")
    name = study_name(encoder, folder, "hf", str(folder))
    assert name is not None
    own = {"name", "source", "paper", "licence"}
    assert card(name).model_dump(exclude=own) == encoder.card.model_dump(exclude=own)


@pytest.mark.parametrize(
    "name",
    [
        "test_vit.r160_in1k",
        "test_vit.r160_in1k#penultimate",
        "test_vit.r160_in1k#no-norm",
        "test_vit.r160_in1k#penultimate,norm,prefix",
        "test_vit4.r160_in1k",
        "test_convnext.r160_in1k",
        "test_nfnet.r160_in1k",
    ],
)
def test_a_model_of_timm_is_read_where_its_card_says(name: str, tmp_path: Path):
    encoder = build_encoder(f"timm:{name}", weights="random", seed=0).eval()
    write_artefact(encoder, tmp_path, "timm")
    hold_against(encoder, tmp_path, "timm")


def test_a_name_is_the_artefacts_without_files_and_controls():
    facts = card("tiny")
    names = {
        "tiny": "tiny",
        "tiny@a/b.pth": "tiny",
        "tiny#no-norm@x": "tiny#no-norm",
        "random:tiny": "tiny",
        "shuffled:random:tiny@x": "tiny",
        "dinov2-base-random": "dinov2-base",
        "hf:./eyes#penultimate": "hf:./eyes#penultimate",
    }
    assert {name: named(facts.model_copy(update={"name": name})) for name in names} == names


@pytest.mark.parametrize("name", [row.name for row in ENCODERS.values() if row.source.startswith("timm")])
def test_a_row_of_timm_is_made_again_by_timm(name: str):
    """On the meta device: the architecture and arguments of the configuration give the exported tensors."""
    with torch.device("meta"):
        encoder = build_encoder(name, weights="random", seed=0)
        model = timm_model(encoder)
        theirs = timm.create_model(model.architecture, num_classes=0, **model.arguments).state_dict()
    ours = encoder.get_submodule("tower").state_dict() | encoder.unread
    assert {key: value.shape for key, value in theirs.items()} == {key: value.shape for key, value in ours.items()}
    assert own_form(encoder) == "timm"


def test_a_model_with_other_sizes_than_timms_is_refused(tmp_path: Path):
    from encoders.timm_source import build_timm, timm_card

    facts = timm_card("test_vit.r160_in1k").model_copy(update={"dim": 32})
    encoder = build_timm(facts, "random", embed_dim=32)
    with pytest.raises(UnsupportedEncoder, match="other tensors than timm's own test_vit: export it with --to folder"):
        write_artefact(encoder, tmp_path, "timm")
    write_artefact(encoder, tmp_path, "folder")
    assert (tmp_path / FILE).is_file()
