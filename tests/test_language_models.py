"""Other language models in the slot: read as their own class reads, with their own words, or refused in a sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM as CausalLM
from transformers import BloomConfig, GemmaConfig, GPT2Config, Qwen3Config

from workbench.backbones.embedded import train_tokenizer
from workbench.build import build
from workbench.edits import Replace, edited
from workbench.errors import UserError
from workbench.language_models import BLANK, load_language_model
from workbench.names import check_names
from workbench.plan import Compute
from workbench.spec import Slot, Spec

SENTENCES = ["what action should the robotic arm take to reach the red block?", "lift the blue block"]
PROMPT = f"do: {BLANK}\n"
SHAPE: dict[str, Any] = dict(
    hidden_size=32, intermediate_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=8
)
CONFIGS: dict[str, Any] = {
    "qwen3": Qwen3Config(num_hidden_layers=3, **SHAPE, tie_word_embeddings=False),
    "gemma": GemmaConfig(num_hidden_layers=3, **SHAPE),  # embeddings scaled by √E
    "gpt2": GPT2Config(n_embd=32, n_layer=3, n_head=4),  # positions are embedded, blocks are called `h`
}


def saved(folder: Path, config: Any) -> Path:
    """A causal language model and its tokenizer, as a hub repository holds them."""
    tokenizer = train_tokenizer(SENTENCES, (), vocabulary=300)
    config.vocab_size = len(tokenizer)
    torch.manual_seed(0)
    CausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=CONFIGS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp(request.param) / "model", CONFIGS[request.param])


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("other") / "model", CONFIGS["qwen3"])


def test_words_are_read_as_the_class_reads_them_and_the_image_stands_before_them(place):
    whole: Any = CausalLM.from_pretrained(place)
    ours = load_language_model(str(place), weights="pretrained", seed=0, prompt=PROMPT, compute=Compute())
    words = ours.tokenize([SENTENCES[1]])
    theirs, decoder, mask_BT = whole.eval().base_model, ours.language.eval(), words.mask_BT[:, :-1]
    with torch.no_grad():
        words_BTE, seen_BNE = ours.embeddings(words.ids_BT), torch.randn(1, 4, 32)
        before_BTE, last_B1E = words_BTE[:, :-1], words_BTE[:, -1:]  # the last word in the query's place
        alone = decoder(seen_BNE[:, :0], before_BTE, mask_BT, last_B1E).all_BLE
        torch.testing.assert_close(alone, theirs(words.ids_BT).last_hidden_state, rtol=0, atol=1e-5)
        found = decoder(seen_BNE, before_BTE, mask_BT, last_B1E).all_BLE
        expected = theirs(inputs_embeds=torch.cat([seen_BNE, words_BTE], dim=1)).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_padding_does_not_change_what_is_read(place):
    ours = load_language_model(str(place), weights="pretrained", seed=0, prompt=PROMPT, compute=Compute())
    both, query_E, seen_BNE = ours.tokenize(SENTENCES), torch.randn(32), torch.randn(2, 4, 32)
    assert not both.mask_BT.all()
    with torch.no_grad():
        found = ours.language.eval()(seen_BNE, ours.embeddings(both.ids_BT), both.mask_BT, query_E[None, None]).query_BE
        for row, sentence in enumerate(SENTENCES):
            words = ours.tokenize([sentence])
            alone = ours.language(
                seen_BNE[row : row + 1], ours.embeddings(words.ids_BT), words.mask_BT, query_E[None, None]
            )
            torch.testing.assert_close(found[row], alone.query_BE[0], rtol=0, atol=1e-5)


def test_parameters_are_counted_and_random_ones_are_a_function_of_the_seed(place):
    whole: Any = CausalLM.from_pretrained(place)
    first, same, other = (
        load_language_model(str(place), weights="random", seed=seed, prompt=PROMPT, compute=Compute())
        for seed in (1, 1, 2)
    )
    used = sum(p.numel() for slot in (first.embeddings, first.language) for p in slot.parameters())
    assert used + first.unused_parameters == whole.num_parameters()
    assert len(first.language.blocks) == 3
    bits = [torch.cat([p.flatten() for p in one.language.parameters()]) for one in (first, same, other)]
    assert torch.equal(bits[0], bits[1]) and not torch.equal(bits[0], bits[2])


def other_words(folder: Path | str) -> Spec:
    """Language, embeddings and projector are replaced together: no order of the three is possible half-way."""
    module = f"hf:{folder}"
    return edited(
        Spec(),
        (
            Replace(slot="language", module=module),
            Replace(slot="embeddings", module=module),
            Replace(slot="projector", module="mlp", weights="random"),
        ),
    )


def test_a_policy_with_another_language_model_reads_its_own_words(qwen):
    policy, backbone = build(other_words(qwen), 0, chunk=2, root=Path())
    check_names(other_words(qwen))
    image = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    walk = policy(image, backbone.tokenize(["reach the red block", "lift it"]))
    assert walk.hidden_BE.shape == (2, 32) and policy.embeddings.num_embeddings == CONFIGS["qwen3"].vocab_size
    assert backbone.chat == backbone.prompt and BLANK in backbone.prompt
    assert torch.equal(policy.head.query_E, policy.embeddings(backbone.tokenize([""]).ids_BT[0, -1]))


def test_the_first_blocks_are_the_native_ones_and_what_is_dropped_is_counted():
    whole, native = build(Spec(), 0, chunk=2, root=Path())
    short, backbone = build(Spec(language=Slot(module="first-blocks:1")), 0, chunk=2, root=Path())
    assert len(short.language.blocks) == 1 < len(whole.language.blocks)
    found, expected = short.language.state_dict(), whole.language.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert any(name.endswith("norm.weight") and "layers" not in name for name in found)
    counts = [sum(p.numel() for p in policy.language.parameters()) for policy in (whole, short)]
    assert backbone.unused_parameters - native.unused_parameters == counts[0] - counts[1] > 0


def test_one_block_reads_as_the_whole_model_does_after_its_first_block():
    whole, backbone = build(Spec(), 0, chunk=2, root=Path())
    short, _ = build(Spec(language=Slot(module="first-blocks:1")), 0, chunk=2, root=Path())
    states: list[Any] = []
    whole.language.blocks[0].register_forward_hook(lambda module, given, found: states.append(found))
    image, words = torch.full((1, 64, 64, 3), 90, dtype=torch.uint8), backbone.tokenize(["reach the red block"])
    with torch.no_grad():
        whole.eval()(image, words)
        found = short.eval()(image, words).hidden.all_BLE
        norm = next(m for name, m in whole.language.named_modules() if name.endswith("norm") and "layers" not in name)
        torch.testing.assert_close(found, norm(states[0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("hf:smollm", "'smollm' is neither a folder nor a hub id"),
        ("hf:./nowhere/at/all", "no config.json"),
        ("first-blocks:99", "has 3 blocks, fewer than the 99"),
    ],
)
def test_a_language_model_that_is_not_there_is_refused_in_one_sentence(name, sentence):
    spec = other_words(name.removeprefix("hf:")) if name.startswith("hf:") else Spec(language=Slot(module=name))
    with pytest.raises(UserError, match=sentence):
        build(spec, 0, chunk=2, root=Path())


def test_a_model_that_takes_no_positions_is_refused(tmp_path):
    folder = saved(tmp_path / "bloom", BloomConfig(hidden_size=32, n_layer=2, n_head=4))
    with pytest.raises(UserError, match="a BloomModel, which takes no position_ids"):
        load_language_model(str(folder), weights="random", seed=0, prompt=PROMPT, compute=Compute())


def test_weights_without_a_file_and_weights_that_do_not_fit_are_refused(qwen, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in qwen.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match="no safetensors weights"):
        load_language_model(str(folder), weights="pretrained", seed=0, prompt=PROMPT, compute=Compute())
    (folder / "model.safetensors").write_bytes((qwen / "model.safetensors").read_bytes()[:999])
    with pytest.raises(UserError, match="cannot be read"):
        load_language_model(str(folder), weights="pretrained", seed=0, prompt=PROMPT, compute=Compute())
    tensors = load_file(qwen / "model.safetensors")
    lost = tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"do not fit its configuration: .*layers\.1\.mlp\.up_proj"):
        load_language_model(str(folder), weights="pretrained", seed=0, prompt=PROMPT, compute=Compute())
    tensors["model.layers.1.mlp.up_proj.weight"] = lost[:-1].contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="cannot be read"):
        load_language_model(str(folder), weights="pretrained", seed=0, prompt=PROMPT, compute=Compute())
