"""Where a backbone comes from: folders and hub ids, and what is said, at once, when it is not there."""

import json
import shutil
import time
from pathlib import Path

import huggingface_hub.constants
import pytest
from tiny_vlms import make

from workbench.backbones.registry import load_backbone
from workbench.backbones.source import EMBEDDED, complete, folder
from workbench.errors import UserError

NAME = "somebody/tiny-vlm"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache of this test's own, and no network: what HF_HUB_CACHE and HF_HUB_OFFLINE set."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def snapshot(cache: Path) -> Path:
    """Where the hub's client keeps `NAME`."""
    repository = cache / f"models--{NAME.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    return repository / "snapshots" / ("0" * 40)


def test_a_hub_id_in_the_cache_is_loaded_without_a_network(cache: Path):
    make("smolvlm", snapshot(cache))
    backbone = load_backbone(NAME, weights="pretrained", seed=0)
    assert backbone.name == NAME and backbone.vision.card.source == f"transformers:{NAME}"


def test_random_weights_of_a_hub_id_need_no_weights_file(cache: Path):
    place = make("smolvlm", snapshot(cache))
    (place / "model.safetensors").unlink()
    assert load_backbone(NAME, weights="random", seed=0).family == "smolvlm"
    with pytest.raises(UserError, match=f"The file model.safetensors of backbone '{NAME}' is not on this machine"):
        load_backbone(NAME, weights="pretrained", seed=0)


def test_a_missing_hub_id_is_reported_with_the_way_to_fetch_it(cache: Path):
    with pytest.raises(UserError, match=f"The file config.json of backbone '{NAME}' .* `hf download {NAME}`"):
        load_backbone(NAME, weights="pretrained", seed=0)


def test_the_missing_shard_is_named(cache: Path):
    place = make("smolvlm", snapshot(cache))
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (place / "model.safetensors").rename(place / shards["a"])
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(UserError, match="The file model-00002-of-00002.safetensors of"):
        complete(NAME, weights=True)


def test_a_missing_tokenizer_or_image_processor_is_named(cache: Path):
    place = make("smolvlm", snapshot(cache))
    (place / "processor_config.json").rename(place / "hidden.json")
    with pytest.raises(UserError, match="The file preprocessor_config.json of"):
        complete(NAME, weights=False)
    (place / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="The file tokenizer.json of"):
        complete(NAME, weights=False)


def test_an_unreachable_hub_is_reported_at_once_without_retries(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(UserError, match="hf download"):
        load_backbone(NAME, weights="pretrained", seed=0)
    assert time.monotonic() - started < 5 and "Retrying" not in caplog.text


def test_a_local_folder_goes_before_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(EMBEDDED, "mine/vlm")
    assert folder("mine/vlm") == Path("mine/vlm") and folder("./mine/vlm") == Path("mine/vlm")


def test_an_unknown_backbone_and_an_empty_folder_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="No backbone named 'embeded'. Did you mean 'embedded'"):
        load_backbone("embeded", weights="pretrained", seed=0)
    with pytest.raises(UserError, match="no config.json"):
        load_backbone(str(tmp_path), weights="pretrained", seed=0)


def test_pickled_weights_are_not_read(tmp_path: Path):
    place = make("smolvlm", tmp_path / "vlm")
    (place / "model.safetensors").rename(place / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be read"):
        load_backbone(str(place), weights="pretrained", seed=0)


def test_weights_that_do_not_fit_are_refused_with_their_keys(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    place = make("smolvlm", tmp_path / "vlm")
    tensors = load_file(place / "model.safetensors")
    tensors["model.connector.extra"] = tensors.pop("model.connector.modality_projection.proj.weight")
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="do not fit its configuration: .*model.connector.modality_projection"):
        load_backbone(str(place), weights="pretrained", seed=0)


@pytest.mark.parametrize(
    ("file", "reason"),
    [("tokenizer.json", "has no tokenizer in"), ("processor_config.json", "has no image processor in")],
)
def test_a_folder_that_lacks_a_file_is_refused_in_a_sentence(file: str, reason: str, tmp_path: Path):
    place = make("smolvlm", tmp_path / "vlm")
    (place / file).unlink()
    with pytest.raises(UserError, match=reason):
        load_backbone(str(place), weights="random", seed=0)


@pytest.mark.parametrize("written", ["{", '{"model_type": "vlm-of-tomorrow"}'])
def test_a_configuration_that_says_nothing_is_refused_in_a_sentence(written: str, tmp_path: Path):
    (tmp_path / "config.json").write_text(written)
    with pytest.raises(UserError, match=f"The configuration of backbone '{tmp_path}' cannot be read"):
        load_backbone(str(tmp_path), weights="random", seed=0)
