"""Weights and models that mean harm, each given to the real door: nothing of them runs, one sentence names them."""

import ast
import json
import pickle
import random
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import refusal
from conftest import SmallRun
from tiny_vlms import make
from traps import DEEP, Door, Trap, change, spring

import ablations
import encoders
import workbench
from encoders.checkpoint import read_checkpoint
from encoders.errors import EncoderError
from encoders.registry import build_encoder
from workbench.backbones.registry import load_backbone
from workbench.backbones.source import EMBEDDED
from workbench.benchmarks.libero import tasks as libero
from workbench.errors import encoder_errors
from workbench.language_models import load_language_model
from workbench.objectives.fast_tokens import published
from workbench.plan import Compute
from workbench.publish import load_policy, save_policy

SOURCES = [path for package in (ablations, encoders, workbench) for path in Path(package.__path__[0]).rglob("*.py")]


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    (tmp_path / "planted").mkdir()
    return Trap(tmp_path / "planted", tmp_path / "it-ran")


def encoder(name: str) -> Door:
    def door() -> object:
        with encoder_errors():
            return build_encoder(name, weights="pretrained", seed=0)

    return door


def backbone(folder: Path) -> Door:
    return lambda: load_backbone(str(folder), weights="pretrained", seed=0)


@pytest.fixture
def embedded(trap: Trap) -> Path:
    return Path(shutil.copytree(EMBEDDED, trap.folder / "backbone"))


def test_what_is_planted_here_would_run(trap: Trap):
    pickle.loads(trap.pickled(trap.folder / "a").read_bytes())
    assert trap.marker.exists()
    trap.marker.unlink()
    torch.load(trap.torch_saved(trap.folder / "b"), weights_only=False)
    assert trap.marker.exists()


# --- files of weights


@pytest.mark.parametrize("name", ["encoder.safetensors", "encoder.pt", "encoder.bin", "encoder"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_for_an_encoder_is_refused_whatever_it_is_called(trap: Trap, name: str, zipped: bool):
    file = trap.folder / name
    (trap.torch_saved if zipped else trap.pickled)(file)
    spring(trap, encoder(f"tiny@{file}"), str(file))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_of_tensors_with_a_wrong_byte_is_read_or_refused_in_a_sentence(trap: Trap, zipped: bool):
    draw, file = random.Random(0), trap.folder / "encoder.pt"
    torch.save({"a": torch.zeros(4)}, file, _use_new_zipfile_serialization=zipped)
    whole, refused = file.read_bytes(), 0
    for _ in range(300):
        changed = bytearray(whole)
        changed[draw.randrange(len(whole))] = draw.randrange(256)
        file.write_bytes(changed[: draw.choice([len(whole), draw.randrange(len(whole))])])
        try:
            assert {*read_checkpoint(file)}
        except EncoderError as error:
            assert str(file) in str(error)
            refused += 1
    assert 100 < refused < 300


def of_tensors(**offsets: tuple[int, int]) -> bytes:
    facts = {name: {"dtype": "F32", "shape": [4], "data_offsets": [*span]} for name, span in offsets.items()}
    header = json.dumps(facts).encode()
    return struct.pack("<Q", len(header)) + header + bytes(24)


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**60) + b"{}",
        of_tensors(a=(0, 16), b=(8, 24)),
        of_tensors(a=(0, 2**62)),
        struct.pack("<Q", 2 * DEEP) + b"[" * DEEP + b"]" * DEEP,
    ],
    ids=["header-of-an-exbibyte", "overlapping", "beyond-the-end", "deep"],
)
def test_a_header_that_lies_is_refused(trap: Trap, content: bytes):
    file = trap.folder / "lies.safetensors"
    file.write_bytes(content)
    spring(trap, encoder(f"tiny@{file}"), str(file))


def test_a_pickle_in_a_policys_folder_is_refused_and_so_is_a_link_to_one(
    trap: Trap, small_run: SmallRun, tmp_path: Path
):
    folder = trap.folder / "policy"
    save_policy(small_run.record, folder)
    weights = folder / "model.safetensors"
    trap.torch_saved(weights)
    spring(trap, lambda: load_policy(folder), str(weights))
    weights.unlink()
    weights.symlink_to(trap.torch_saved(tmp_path / "outside.pt"))
    spring(trap, lambda: load_policy(folder), str(weights))
    trap.deep(folder / "config.json")
    spring(trap, lambda: load_policy(folder), str(folder / "config.json"))
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")
    spring(trap, lambda: load_policy(folder), str(folder))


def test_initial_states_that_call_something_are_refused(trap: Trap, monkeypatch: pytest.MonkeyPatch):
    file = trap.folder / "init_files" / "libero_object" / "soup.pruned_init"
    file.parent.mkdir(parents=True)
    monkeypatch.setattr(libero, "package_folder", lambda: trap.folder)
    for plant in (trap.torch_saved, trap.pickled):
        plant(file)
        libero.initial_states.cache_clear()
        spring(trap, lambda: libero.initial_states("libero-object", "soup"), str(file))
    libero.initial_states.cache_clear()


# --- folders of models


def test_a_backbone_of_pickles_is_refused(trap: Trap, embedded: Path):
    (embedded / "model.safetensors").unlink()
    trap.torch_saved(embedded / "pytorch_model.bin")
    spring(trap, backbone(embedded), str(embedded))
    trap.torch_saved(embedded / "model.safetensors")
    spring(trap, backbone(embedded), str(embedded))


@pytest.mark.parametrize("shard", ["../outside.bin", "/outside.safetensors", "pytorch_model.bin"])
def test_an_index_that_names_weights_elsewhere_or_a_pickle_is_refused(trap: Trap, embedded: Path, shard: str):
    trap.torch_saved(trap.folder / "outside.bin")
    trap.torch_saved(embedded / "pytorch_model.bin")
    (embedded / "model.safetensors").unlink()
    index = embedded / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"model.language_model.norm.weight": shard}}))
    spring(trap, backbone(embedded), str(index))
    spring(trap, encoder(f"hf:{tower(trap, shard)}"), index.name)


def tower(trap: Trap, shard: str) -> Path:
    """A folder of an encoder with such an index."""
    from transformers import SiglipVisionConfig

    folder = trap.folder / "tower"
    told = SiglipVisionConfig(image_size=32, patch_size=16, hidden_size=16, intermediate_size=16, num_hidden_layers=1)
    told.num_attention_heads = 2
    told.save_pretrained(folder)
    processor = json.loads((EMBEDDED / "processor_config.json").read_text())["image_processor"]
    (folder / "preprocessor_config.json").write_text(json.dumps(processor | {"size": {"height": 32, "width": 32}}))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    return folder


def test_adapters_that_stand_for_a_model_elsewhere_are_refused(trap: Trap, embedded: Path):
    told = {"peft_type": "LORA", "base_model_name_or_path": str(trap.folder / "elsewhere"), "target_modules": ["q"]}
    (embedded / "adapter_config.json").write_text(json.dumps(told))
    spring(trap, backbone(embedded), "adapter_config.json")


CODE: dict[str, dict[str, Any]] = {
    "config.json": {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}},
    "tokenizer_config.json": {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}},
    "processor_config.json": {
        "image_processor": {"image_processor_type": "Evil", "auto_map": {"AutoImageProcessor": "evil.Evil"}}
    },
}


@pytest.mark.parametrize("file", CODE)
@pytest.mark.parametrize("answer", ["y\n", ""])
def test_code_that_comes_with_a_model_is_not_run_and_nobody_is_asked(
    trap: Trap, embedded: Path, file: str, answer: str, monkeypatch: pytest.MonkeyPatch
):
    """transformers asks at the terminal, and runs it where somebody says yes."""
    monkeypatch.setattr("builtins.input", lambda _: answer.strip())
    trap.module(embedded)
    change(embedded / file, **CODE[file])
    if file == "tokenizer_config.json":
        (embedded / "tokenizer.json").unlink()
    spring(trap, backbone(embedded), "no code that comes with a model is run")


def test_neither_is_that_of_an_encoder_or_a_language_model(trap: Trap, embedded: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("builtins.input", lambda _: "y")
    trap.module(embedded)
    classes = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}
    change(embedded / "config.json", model_type="evil", auto_map=classes)
    shutil.copyfile(embedded / "processor_config.json", embedded / "preprocessor_config.json")
    spring(trap, encoder(f"hf:{embedded}"), str(embedded))
    other = {"weights": "pretrained", "seed": 0, "prompt": "{instruction}", "compute": Compute()}
    spring(trap, lambda: load_language_model(str(embedded), **other), str(embedded))


def test_a_configuration_that_names_a_kernel_of_the_hub_is_refused(trap: Trap, embedded: Path):
    change(embedded / "config.json", attn_implementation="evil/kernel")
    spring(trap, backbone(embedded), str(embedded))


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "processor_config.json", "tokenizer_config.json"])
def test_files_nested_too_deep_are_refused(trap: Trap, embedded: Path, file: str):
    trap.deep(embedded / file, '{"model_type": "paligemma", "a": {}}')
    spring(trap, backbone(embedded), str(embedded))


@pytest.mark.parametrize(
    "template",
    [
        "{{ cycler.__init__.__globals__.os.system('COMMAND') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{{ 1 / 0 }}",
        "{% if %}",
    ],
)
def test_a_chat_template_reaches_nothing_but_its_words(trap: Trap, template: str):
    folder = make("qwen3_vl", trap.folder / "backbone")
    for file in folder.glob("chat_template*"):
        file.unlink()
    (folder / "chat_template.jinja").write_text(template.replace("COMMAND", trap.command))
    spring(trap, backbone(folder), str(folder))


def test_a_published_action_tokenizer_of_brackets_or_with_code_is_only_read(trap: Trap):
    trap.module(trap.folder)
    (trap.folder / "tokenizer.json").write_text("{}")
    (trap.folder / "processor_config.json").write_text(json.dumps({"scale": 1, "min_token": 0, "auto_map": "evil.E"}))
    spring(trap, lambda: published(trap.folder, steps=4, actions=7), "tokenizer.json")
    trap.deep(trap.folder / "processor_config.json")
    spring(trap, lambda: published(trap.folder, steps=4, actions=7), "processor_config.json")


# --- the same at the command line, and for good


def test_the_command_line_says_one_sentence(trap: Trap, embedded: Path):
    trap.module(embedded)
    change(embedded / "config.json", **CODE["config.json"])
    assert "no code that comes with a model is run" in refusal("inspect", str(embedded))
    assert not trap.marker.exists()


FORBIDDEN = {"dill", "joblib", "cloudpickle", "marshal", "shelve", "tarfile", "yaml", "runpy"}
"""Modules whose readers run, or unpack, what they are given."""


def test_no_other_door_runs_what_it_reads():
    """By every call and import of the sources."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
                names = {alias.name for alias in node.names}
                assert not FORBIDDEN & {*names, module.split(".")[0]}, path
                assert "pickle" not in names or path.name == "pickled.py", path
                assert module != "pickle" or names == {"UnpicklingError"}, path
            elif isinstance(node, ast.Call):
                given = {one.arg: ast.unparse(one.value) for one in node.keywords}
                door = path.name in ("pretrained.py", "pickled.py")
                assert door or harmless(ast.unparse(node.func), given), (path, node.lineno)


def harmless(called: str, given: dict[str | None, str]) -> bool:
    local = given.get("use_safetensors") == given.get("local_files_only") == "True"
    match called.rpartition(".")[2]:
        case "loads":
            return called in ("json.loads", "tomllib.loads")
        case "load" if "." in called:
            return given.get("weights_only") == "True" or given.get("allow_pickle") == "False" or "OmegaConf" in called
        case "from_pretrained":
            return local
        case "extractall" | "extract" | "unpack_archive" | "exec":
            return False
        case "eval":
            return called != "eval"
        case _:
            return True
