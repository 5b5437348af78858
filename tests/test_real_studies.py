"""The studies of published backbones are planned at their real size: three billion parameters, no weights, no data."""

import json
from pathlib import Path

import pytest
from commands import say
from tiny_vlms import make

QWEN_TEXT = {
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "layer_types": ["full_attention"] * 36,
    "max_window_layers": 36,
    "rope_parameters": {"mrope_section": [16, 24, 24], "rope_theta": 1000000.0, "rope_type": "default"},
    "tie_word_embeddings": True,
}
QWEN_VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "out_hidden_size": 2048,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Qwen2.5-VL-3B (the sizes of its model card) without weights, with a small tokenizer."""
    folder = make("qwen2_5_vl", tmp_path_factory.mktemp("real") / "qwen")
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= QWEN_TEXT
    config["vision_config"] |= QWEN_VISION
    config["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.slow
def test_a_study_of_a_published_backbone_is_planned_without_weights_and_data(qwen: Path, tmp_path: Path):
    frozen = 'edits=[{edit="tune", slot="vision", tune={kind="frozen"}}]'
    arms = f'arms=[{{name="all-trained"}}, {{name="freeze-vision", {frozen}}}]'
    changes = ("--set", f"base.backbone={qwen}", "--set", arms, "--set", "contrasts=[]", "--set", "seeds=[0]")
    said = say("plan", "vlm4vla-bridge", "--root", str(tmp_path), "--format", "json", *changes)
    assert said.code == 0, said.error
    trained = {run["arm"]: run["trainable_parameters"] for run in json.loads(said.out)["runs"]}
    assert 3.6e9 < trained["all-trained"] < 3.9e9
    assert 0.6e9 < trained["all-trained"] - trained["freeze-vision"] < 0.7e9
