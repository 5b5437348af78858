"""An injected encoder leaves its run as a folder that plain timm, transformers and open_clip load.

The code of each model card is run as it stands there. Shapes: B batch  H W height and width  C colours  N image tokens
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from commands import refusal, say
from frames import shaded
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from encoders.contract import Encoder
from encoders.registry import build_encoder
from encoders.torchvision_ops import ensure
from workbench.build import build
from workbench.collect import collect
from workbench.errors import UserError
from workbench.execute import execute
from workbench.plan import Budget, Evaluate, Finetune, Inject, Inputs, Protocol, run_id
from workbench.player import player_of, trained_encoder
from workbench.publish_encoder import encoder_card, save_encoder
from workbench.recipes import Expert, Folder
from workbench.record import Record, collected_folder, open_record
from workbench.spec import Frozen, Lora, Slot, Spec

ensure()  # the libraries import torchvision

import open_clip  # noqa: E402
import timm  # noqa: E402
import transformers  # noqa: E402
from open_clip.factory import _MODEL_CONFIGS  # noqa: E402
from open_clip.pretrained import _PRETRAINED  # noqa: E402
from timm.data.config import resolve_model_data_config  # noqa: E402

DATA = Expert(tasks=("reach",), episodes=2, split="injection")
BUDGET = Budget(steps=2, batch=2, warmup_steps=1)
CLIP: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}
OPEN_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "layers": 3, "width": 64, "head_width": 32},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}
RESNET = OPEN_CLIP | {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}}
TAG = {"url": "", "hf_hub": "nobody/nothing", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
TAG |= {"interpolation": "bicubic", "resize_mode": "shortest"}
START: dict[str, str] = {"native": "pretrained", "linear": "random"}


@dataclass(frozen=True)
class Trained:
    """A finished run, and its policy's own eyes."""

    root: Path
    record: Record
    vision: Encoder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    collect(DATA, collected_folder(root, DATA))
    return root


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny CLIP tower of transformers."""
    folder = tmp_path_factory.mktemp("clip")
    transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**CLIP, intermediate_size=48)).save_pretrained(folder)
    size, halves = {"height": 32, "width": 32}, [0.5] * 3
    transformers.ViTImageProcessor(size=size, resample=3, image_mean=halves, image_std=halves).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def tiny_open_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two architectures and a tag in open_clip's own registry, small enough to train here."""
    for name, configuration in (("ViT-tiny-test", OPEN_CLIP), ("RN-tiny-test", RESNET)):
        monkeypatch.setitem(_MODEL_CONFIGS, name, configuration)
        monkeypatch.setitem(_PRETRAINED, name, {"here": TAG})


def train(root: Path, vision: Slot, *, projector: str = "native") -> Trained:
    """Two steps; what the objective's gradient does not reach is frozen."""
    fills: dict[str, Any] = {name: Slot(tune=Frozen()) for name in ("embeddings", "language")}
    fills |= {"projector": Slot(module=projector, weights=START[projector], tune=Frozen())}
    fills |= {"head": Slot(module="chunk-mlp", weights="random", tune=Frozen())}
    plan = Inject(objective="state", spec=Spec(vision=vision, **fills), data=DATA, budget=BUDGET, seed=3)
    execute(plan, root)
    record = open_record(root, run_id(plan))
    assert record.error is None, record.error
    return Trained(root, record, player_of(record).policy.vision.eval())


def export(trained: Trained, folder: Path, *options: str) -> dict[str, Any]:
    """What the command line says that it wrote."""
    asked = (trained.record.id, str(folder), "--root", str(trained.root), "--format", "json", *options)
    said = say("encoders", "export", *asked)
    assert said.code == 0, said
    return json.loads(said.out)


def code_of(folder: Path) -> list[str]:
    card = (folder / "README.md").read_text()
    return card.partition("```python\n")[2].partition("\n```")[0].splitlines()


def picture(frame_BHWC: Tensor) -> Image.Image:
    return Image.fromarray(numpy.asarray(frame_BHWC[0]))


def of(pixels: Any) -> Tensor:
    return pixels if isinstance(pixels, Tensor) else pixels["pixel_values"]


@torch.no_grad()
def hold_against(vision: Encoder, folder: Path, monkeypatch: pytest.MonkeyPatch, tolerance: float = 0.0) -> None:
    """Run the card's code: its pixels are the encoder's within a grey level, its tokens of equal pixels are equal."""
    monkeypatch.chdir(folder.parent)
    code, known = code_of(folder), dict[str, Any]()
    assert not any(word in line for line in code for word in ("encoders", "workbench"))
    known["image"] = picture(shaded(90, 160))
    exec("\n".join(code), known)
    std_C11 = torch.tensor(vision.card.std).view(3, 1, 1)
    apart = (vision.pixels_BCHW(shaded(90, 160)) - of(known["pixels"])) * std_C11 * 255
    assert apart.abs().max() < 1.01
    at = next(i for i, line in enumerate(code) if line.startswith("pixels = "))
    pixels = vision.pixels_BCHW(shaded(90, 160))
    known["pixels"] = pixels if isinstance(known["pixels"], Tensor) else {"pixel_values": pixels}
    exec("\n".join(code[at + 1 :]), known)
    expected = vision(shaded(90, 160))
    assert expected.std() > 1e-3
    torch.testing.assert_close(known["tokens"], expected, rtol=0, atol=tolerance)


# hf


def test_the_backbones_own_eyes_are_an_automodel(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trained = train(root, Slot())
    written = export(trained, tmp_path / "eyes")
    assert written["to"] == "hf" and written["module"] == f"hf:{tmp_path / 'eyes'}"
    assert written["files"] == sorted(path.name for path in (tmp_path / "eyes").iterdir())
    assert {"config.json", "preprocessor_config.json", "card.json", "README.md"} < set(written["files"])
    model, told = transformers.AutoModel.from_pretrained(tmp_path / "eyes", output_loading_info=True)
    assert type(model).__name__ == "SiglipVisionModel" and not any(told.values())
    stored = load_file(trained.record.folder / "policy.safetensors")
    assert all(torch.equal(stored[f"vision.tower.{key}"], value) for key, value in model.state_dict().items())
    before = build(Spec(), 3, chunk=4, root=root)[0].vision.get_submodule("tower").state_dict()
    assert any(not torch.equal(before[key], value) for key, value in model.state_dict().items())
    hold_against(trained.vision, tmp_path / "eyes", monkeypatch)


def test_low_rank_updates_are_merged(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trained = train(root, Slot(tune=Lora(rank=2, alpha=64)))
    export(trained, tmp_path / "eyes", "--to", "hf")
    _, told = transformers.AutoModel.from_pretrained(tmp_path / "eyes", output_loading_info=True)
    assert not any(told.values())
    hold_against(trained.vision, tmp_path / "eyes", monkeypatch, tolerance=2e-5)
    pretrained = build(Spec(), 3, chunk=4, root=root)[0].vision.get_submodule("tower").state_dict()
    merged = load_file(tmp_path / "eyes" / "model.safetensors")
    moved = {key for key in pretrained if not torch.equal(merged[key], pretrained[key])}
    assert moved and all(key.endswith(".weight") for key in moved)


@pytest.mark.parametrize("readout", ["", "#penultimate"])
def test_a_tower_of_transformers_is_an_automodel_again(
    root: Path, clip: str, readout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trained = train(root, Slot(module=f"hf:{clip}{readout}", weights="random"), projector="linear")
    written = export(trained, tmp_path / "eyes")
    assert written["module"] == f"hf:{tmp_path / 'eyes'}{readout}"
    _, told = transformers.AutoModel.from_pretrained(tmp_path / "eyes", output_loading_info=True)
    assert not any(told.values())
    hold_against(trained.vision, tmp_path / "eyes", monkeypatch)


def test_injected_eyes_are_grafted_into_another_backbone(root: Path, tmp_path: Path):
    """Through the folder alone: the run that they come from is not there, and the projector is a new one."""
    trained = train(root, Slot())
    module = export(trained, tmp_path / "eyes")["module"]
    spec = Spec(vision=Slot(module=module, weights="pretrained"), projector=Slot(module="linear", weights="random"))
    policy, _ = build(spec, 0, chunk=4, root=Path("/nowhere"))
    with torch.no_grad():
        assert torch.equal(policy.vision.eval()(shaded(90, 160)), trained.vision(shaded(90, 160)))
    again = train(root, Slot(module=module), projector="linear")
    assert export(again, tmp_path / "again")["module"] == f"hf:{tmp_path / 'again'}"


# timm


@pytest.mark.parametrize(
    "name",
    ["test_vit.r160_in1k", "test_vit.r160_in1k#penultimate,prefix", "test_vit.r160_in1k#96px", "test_resnet.r160_in1k"],
)
def test_a_model_of_timm_is_created_from_the_folder(
    root: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trained = train(root, Slot(module=f"timm:{name}", weights="random"), projector="linear")
    written = export(trained, tmp_path / "eyes")
    assert written["to"] == "timm" and written["module"] == f"timm:{name}@{tmp_path / 'eyes/model.safetensors'}"
    model = timm.create_model(f"local-dir:{tmp_path / 'eyes'}", pretrained=True)
    exported = load_file(tmp_path / "eyes" / "model.safetensors")
    assert set(exported) == set(model.state_dict())
    assert all(torch.equal(exported[key], value) for key, value in model.state_dict().items())
    facts, settings = trained.vision.card, resolve_model_data_config(model)
    assert tuple(settings["input_size"]) == (3, facts.side, facts.side) and settings["crop_mode"] == "squash"
    assert (tuple(settings["mean"]), tuple(settings["std"]), settings["crop_pct"]) == (facts.mean, facts.std, 1.0)
    hold_against(trained.vision, tmp_path / "eyes", monkeypatch)


def test_what_the_encoder_did_not_read_leaves_as_it_came(root: Path, tmp_path: Path):
    name = "timm:test_vit.r160_in1k#penultimate,no-norm"
    trained = train(root, Slot(module=name, weights="random"), projector="linear")
    export(trained, tmp_path / "eyes")
    exported = load_file(tmp_path / "eyes" / "model.safetensors")
    before = build_encoder(name, weights="random", seed=3)
    assert len(before.unread) > 4
    assert all(torch.equal(exported[key], tensor) for key, tensor in before.unread.items())
    trained_key = "blocks.0.attn.qkv.weight"
    assert not torch.equal(exported[trained_key], before.get_submodule("tower").state_dict()[trained_key])


def test_the_workbenchs_own_small_encoder_is_a_model_of_timm(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trained = train(root, Slot(module="tiny", weights="random"), projector="linear")
    assert export(trained, tmp_path / "eyes")["module"] == f"tiny@{tmp_path / 'eyes/model.safetensors'}"
    hold_against(trained.vision, tmp_path / "eyes", monkeypatch)


# open_clip


@pytest.mark.parametrize("name", ["ViT-tiny-test/here", "ViT-tiny-test/here#last,norm,prefix", "RN-tiny-test/here"])
def test_a_tower_of_open_clip_takes_the_file_strictly(
    root: Path, tiny_open_clip: None, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trained = train(root, Slot(module=f"open_clip:{name}", weights="random"), projector="linear")
    written = export(trained, tmp_path / "eyes")
    assert written["to"] == "open-clip" and written["files"] == ["README.md", "card.json", "model.safetensors"]
    visual: Any = open_clip.create_model(name.partition("/")[0]).visual
    visual.load_state_dict(load_file(tmp_path / "eyes" / "model.safetensors"), strict=True)
    hold_against(trained.vision, tmp_path / "eyes", monkeypatch)


# folder


def test_the_neutral_folder_is_read_again_by_the_encoders_name(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trained = train(root, Slot(module="random:tiny", weights="random"), projector="linear")
    written = export(trained, tmp_path / "eyes", "--to", "folder")
    assert written["module"] == f"tiny@{tmp_path / 'eyes/model.safetensors'}"
    again = build_encoder(written["module"], weights="pretrained", seed=0).eval()
    with torch.no_grad():
        expected = trained.vision(shaded(64, 64))
        assert torch.equal(again(shaded(64, 64)), expected)
    facts = json.loads((tmp_path / "eyes" / "card.json").read_text())
    assert again.card.model_copy(update={"name": "tiny"}).model_dump(mode="json") == facts
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {"image": picture(shaded(64, 64))}
    exec("\n".join(code_of(tmp_path / "eyes")), known)
    assert torch.equal(known["tokens"].detach(), expected)


# the model card


@pytest.fixture(scope="module")
def native(root: Path) -> Trained:
    return train(root, Slot())


def test_the_model_card_says_how_the_encoder_was_made(native: Trained, tmp_path: Path):
    export(native, tmp_path / "eyes")
    card = (tmp_path / "eyes" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "injected with `state`: the robot's state (tip and gripper) from one picture" in card
    assert "| data | kind expert; tasks reach; episodes 2; split injection; noise 0.3" in card
    assert "| budget | steps 2; batch 2;" in card and "| seed | 3 |" in card and "| started from | pretrained |" in card
    assert f"| revision of the workbench | {native.record.result['machine']['revision']} |" in card
    assert all(f"| {row['slot']} | {row['module']} |" in card for row in native.record.ledger()["rows"])
    assert f'weights = "run:{native.record.id}"' in card and "kept" not in card


def test_a_controls_card_says_so_and_a_policys_says_what_it_was_not_given(native: Trained, tmp_path: Path):
    plan = native.record.plan
    assert isinstance(plan, Inject)
    control = replace(native.record, plan=plan.model_copy(update={"objective": "masked-image"}))
    save_encoder(control, tmp_path / "control", native.root)
    assert "nothing of control was taught." in (tmp_path / "control" / "README.md").read_text()
    vision = plan.spec.vision.model_copy(update={"weights": "run:0123456789ab"})
    behind = {"objective": "masked-image", "spec": plan.spec.model_copy(update={"vision": vision})}
    encoder, last = trained_encoder(native.record, native.root), plan.model_copy(update=behind)
    staged = encoder_card(native.record, last, encoder, "folder", "last")
    assert "nothing of control was taught in this last stage." in staged
    asked = {"spec": plan.spec, "data": Folder(path="/home/me/data/mine"), "budget": BUDGET, "protocol": Protocol()}
    blind = replace(native.record, plan=Finetune(**asked, inputs=Inputs(image="blank")))
    save_encoder(blind, tmp_path / "blind", native.root)
    card = (tmp_path / "blind" / "README.md").read_text()
    assert "finetuned as the eyes of a robot policy" in card and "| inputs | image blank; instruction given |" in card
    assert "a LeRobot dataset, mine" in card and "/home/me" not in card


def test_retention_is_a_table_where_it_was_measured(native: Trained, tmp_path: Path):
    measured = native.record.folder / "retention.json"
    measured.write_text(json.dumps({"CKA of block 1": 0.98765, "rank": 31}))
    save_encoder(native.record, tmp_path / "eyes", native.root)
    card = (tmp_path / "eyes" / "README.md").read_text()
    assert "## What it has kept" in card and "| CKA of block 1 | 0.9877 |\n| rank | 31 |" in card
    measured.write_text(json.dumps({"CKA": {"block 1": 0.9}}))
    with pytest.raises(UserError, match="holds no figures"):
        save_encoder(native.record, tmp_path / "others", native.root)
    assert not (tmp_path / "others").exists() and not list(tmp_path.glob(".others-*"))
    measured.unlink()


# refusals


def test_another_library_is_refused_with_the_one_that_it_comes_from(native: Trained, tmp_path: Path):
    asked = ("encoders", "export", native.record.id, str(tmp_path / "eyes"), "--root", str(native.root))
    for other in ("timm", "open-clip"):
        said = refusal(*asked, "--to", other)
        assert "'embedded/vision' is a model of transformers: export it with --to hf." in said
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_is_refused_and_left_as_it_is(native: Trained, tmp_path: Path):
    (tmp_path / "mine").write_text("mine")
    said = refusal("encoders", "export", native.record.id, str(tmp_path), "--root", str(native.root))
    assert "exists already: choose another folder" in said
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_is_no_librarys_model_or_has_no_weights_is_refused(native: Trained, tmp_path: Path):
    new = Slot(module="linear", weights="random")
    for module, why in (("raw-patches", "it has no weights"), ("fused:tiny+tiny", "members first and second")):
        spec = Spec(vision=Slot(module=module, weights="random"), projector=new)
        plan = Inject(spec=spec, data=DATA, budget=BUDGET)
        execute(plan, native.root)
        with pytest.raises(UserError, match=f"is no single library's model: .*{why}"):
            save_encoder(open_record(native.root, run_id(plan)), tmp_path / "eyes", native.root)
    plays = replace(native.record, plan=Evaluate(of=native.record.id, protocol=Protocol(), inputs=Inputs()))
    with pytest.raises(UserError, match=f"only plays the policy of {native.record.id}"):
        save_encoder(plays, tmp_path / "eyes", native.root)
    assert not list(tmp_path.iterdir())


def test_without_a_folder_it_is_named_after_the_run(native: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    said = say("encoders", "export", native.record.id, "--root", str(native.root))
    assert said.code == 0 and f'module = "hf:encoder-{native.record.id}"' in said.out
    assert (tmp_path / f"encoder-{native.record.id}" / "config.json").is_file()
