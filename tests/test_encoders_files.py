"""Encoders from and to files: `A@FILE`, what is refused, and the export that the library's own class loads.

Shapes: B batch  N image tokens  D encoder width
"""

from pathlib import Path

import pytest
import torch
from frames import shaded
from safetensors.torch import save_file
from torch import Tensor

from encoders.errors import WeightsMismatch, WeightsMissing
from encoders.export import export_state_dict, save_export
from encoders.registry import build_encoder
from encoders.torchvision_ops import ensure

ensure()  # the libraries import torchvision

import timm  # noqa: E402


def test_an_export_is_a_file_that_the_same_architecture_reads(tmp_path: Path):
    trained = build_encoder("tiny", weights="random", seed=5)
    save_export(trained, tmp_path / "mine.safetensors")
    name = f"tiny@{tmp_path / 'mine.safetensors'}"
    again = build_encoder(name, weights="pretrained", seed=0)
    assert again.card.name == name and again.card.tokens == 16
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in trained.state_dict().items())
    fresh = build_encoder(name, weights="random", seed=0)
    assert not torch.equal(fresh.state_dict()["tower.pos_embed"], trained.state_dict()["tower.pos_embed"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_must_fit_its_architecture_key_by_key(suffix: str, tmp_path: Path):
    name = "timm:test_vit.r160_in1k"
    state = timm.create_model(name.removeprefix("timm:"), num_classes=0).state_dict()
    file = tmp_path / f"weights{suffix}"

    def write(tensors: dict[str, Tensor]) -> None:
        save_file(tensors, file) if suffix == ".safetensors" else torch.save({"model": tensors}, file)

    write(state)
    encoder = build_encoder(f"{name}@{file}", weights="pretrained", seed=0)
    assert torch.equal(encoder.state_dict()["tower.norm.bias"], state["norm.bias"])
    write({key: value for key, value in state.items() if key != "norm.bias"})
    with pytest.raises(WeightsMismatch, match="missing norm.bias"):
        build_encoder(f"{name}@{file}", weights="pretrained", seed=0)
    write(state | {"stray": torch.zeros(2)})
    with pytest.raises(WeightsMismatch, match="stray"):
        build_encoder(f"{name}@{file}", weights="pretrained", seed=0)
    write(state | {"norm.bias": torch.zeros(7)})
    with pytest.raises(WeightsMismatch, match="norm.bias"):
        build_encoder(f"{name}@{file}", weights="pretrained", seed=0)


class Payload:
    """What a pickle can hold beside tensors."""


def test_a_pickle_that_holds_more_than_tensors_is_refused(tmp_path: Path):
    torch.save({"model": Payload()}, tmp_path / "weights.pt")
    with pytest.raises(WeightsMismatch, match="weights_only=True: it is refused"):
        build_encoder(f"tiny@{tmp_path / 'weights.pt'}", weights="pretrained", seed=0)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsMismatch, match="no dictionary of tensors"):
        build_encoder(f"tiny@{tmp_path / 'list.pt'}", weights="pretrained", seed=0)
    with pytest.raises(WeightsMissing, match="There is no weights file"):
        build_encoder(f"tiny@{tmp_path / 'none.pt'}", weights="pretrained", seed=0)


def test_low_rank_updates_are_merged_into_an_export():
    from peft import LoraConfig, inject_adapter_in_model

    encoder = build_encoder("tiny", weights="random", seed=0).eval()
    names = set(encoder.get_submodule("tower").state_dict())
    target = LoraConfig(r=2, lora_alpha=4, target_modules=["qkv"], init_lora_weights=False, use_dora=True)
    inject_adapter_in_model(target, encoder)
    adapted_BND = encoder(shaded(64, 64))
    merged = export_state_dict(encoder)
    assert set(merged) == names
    assert torch.equal(adapted_BND, encoder(shaded(64, 64)))
    plain = build_encoder("tiny", weights="random", seed=1).eval()
    plain.get_submodule("tower").load_state_dict(merged, strict=True)
    torch.testing.assert_close(plain(shaded(64, 64)), adapted_BND, rtol=0, atol=1e-5)
