"""Prompts: the family's chat template around the instruction, the image's place found and left out."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_vlms import TINY, make

from workbench.backbones.chat import build_chat, chat_template
from workbench.backbones.family import QUESTION
from workbench.backbones.registry import EMBEDDED, FAMILIES, load_backbone
from workbench.errors import UserError

# after our own modules, which make torchvision importable
from transformers import AutoConfig, AutoProcessor, AutoTokenizer  # isort: skip

SHORT = "lift the red block"


@pytest.fixture(scope="module", params=TINY)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make(request.param, tmp_path_factory.mktemp("vlm") / request.param))


def placeholder(folder: str) -> str:
    config = AutoConfig.from_pretrained(folder)
    marker = FAMILIES[config.model_type].marker
    return marker or AutoTokenizer.from_pretrained(folder).convert_ids_to_tokens(config.image_token_id)


def test_a_prompt_of_ones_own_replaces_the_question_and_leaves_the_image_in_its_place(folder: str):
    asked = load_backbone(folder, weights="random", seed=0)
    told = load_backbone(folder, weights="random", seed=0, prompt="Do: {instruction}")
    assert "Do: {instruction}" in told.chat and QUESTION not in told.chat and told.prompt == "Do: {instruction}"
    assert told.language.image_at == asked.language.image_at
    with pytest.raises(UserError, match=r"must hold \{instruction\} once"):
        load_backbone(folder, weights="random", seed=0, prompt="Do it")
    with pytest.raises(UserError, match="marks the image's place"):
        asked.tokenize([f"lift {placeholder(folder)} the block"])


def test_a_folder_without_a_chat_template_gets_the_familys_own(folder: str, tmp_path: Path):
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    processor.chat_template = None
    AutoConfig.from_pretrained(folder).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    bare = load_backbone(str(tmp_path), weights="random", seed=0)
    assert QUESTION in bare.chat and bare.tokenize([SHORT]).mask_BT.all()


def test_a_backbone_that_the_workbench_pretrained_keeps_its_own_prompt():
    assert load_backbone(str(EMBEDDED), weights="random", seed=0).chat == "<image><bos>{instruction}\n"


def test_rows_are_told_what_is_said_to_them_in_their_order_however_often():
    words = load_backbone(str(EMBEDDED), weights="random", seed=0).tokenize
    once, told = words([SHORT, "lift"]), words(["lift", SHORT, SHORT, "lift"])
    assert torch.equal(told.ids_BT, once.ids_BT[[1, 0, 0, 1]]) and torch.equal(told.mask_BT, once.mask_BT[[1, 0, 0, 1]])
    assert not once.mask_BT[1].all() and once.mask_BT[0].all()


def test_the_processors_chat_template_goes_before_the_tokenizers(tmp_path: Path):
    """Older repositories keep it in chat_template.json, which `AutoProcessor` reads first."""
    tokenizer: Any = SimpleNamespace(chat_template="of the tokenizer", get_chat_template=lambda: "of the tokenizer")
    assert chat_template(tmp_path, SimpleNamespace(chat_template=None)) is None
    assert chat_template(tmp_path, tokenizer) == "of the tokenizer"
    (tmp_path / "chat_template.jinja").write_text("a file")
    assert chat_template(tmp_path, tokenizer) == "a file"
    (tmp_path / "chat_template.json").write_text('{"chat_template": "an old file"}')
    assert chat_template(tmp_path, tokenizer) == "an old file"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ messages[0]['content'][1]['text'] }}", "should place one '<image>'"),
        ("<image> Hello", "does not hold the user's words once"),
        ("{{ messages[0]['content'][1]['text'] }}<image>", "place depends on the instruction"),
    ],
)
def test_a_chat_template_that_shows_no_image_or_no_words_is_refused(template: str, reason: str, tmp_path: Path):
    tokenizer = AutoTokenizer.from_pretrained(make("llava", tmp_path))
    with pytest.raises(UserError, match=reason):
        build_chat(FAMILIES["llava"], tokenizer, template, "<image>", QUESTION)
