"""Questions become token rows, and are read, exactly as the model's own processor and forward do it."""

from typing import Any

import numpy as np
import pytest
import torch

from encoders.torchvision_ops import ensure
from workbench.backbones.registry import EMBEDDED
from workbench.pretraining.questions import ask
from workbench.pretraining.reading import Writer, answer_loss, look, read
from workbench.pretraining.scenes import Scenes, render_scenes

ensure()

from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: E402


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    *_, (_, scenes) = render_scenes(100, 64, 0)
    return scenes


@pytest.fixture(scope="module")
def native() -> tuple[Any, Any]:
    """The shipped model and its processor, as transformers loads them."""
    model = AutoModelForImageTextToText.from_pretrained(EMBEDDED, local_files_only=True).eval()
    return model, AutoProcessor.from_pretrained(EMBEDDED, local_files_only=True)


def test_every_answer_can_be_written_with_the_shipped_tokenizer(scenes, native):
    tokenizer, random = native[1].tokenizer, np.random.default_rng(2)
    for n in range(100):
        _, answer = ask(scenes, n, random)
        ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids).strip() == answer
        if answer.startswith("<loc"):
            assert len(ids) == 2


def processed(native: tuple[Any, Any], scenes: Scenes, question: str, answer: str) -> dict[str, torch.Tensor]:
    """A question and its answer as the model's own processor lays them out for training."""
    given = native[1](images=[scenes.image[0]], text=[f"<image>{question}"], suffix=[answer], return_tensors="np")
    return {key: torch.from_numpy(np.asarray(value)) for key, value in given.items()}


@pytest.mark.parametrize("answer", ["<loc03><loc31>", "the red block", "left above"])
def test_questions_are_laid_out_as_the_models_own_processor_does(native, scenes, answer):
    question = "point to the yellow plate"
    given = processed(native, scenes, question, answer)
    asked = Writer(native[1].tokenizer).rows(scenes.part(0, 1), [(question, answer)])
    words = (given["input_ids"][0] != native[0].config.image_token_index).nonzero()[0, 0]
    ids, types, labels = (given[key][0, words:] for key in ("input_ids", "token_type_ids", "labels"))
    assert asked.ids_BT[0].tolist() == ids[:-1].tolist()  # nothing follows the last answer token
    assert asked.type_BT[0].tolist() == types[:-1].tolist()
    assert asked.label_BT[0].tolist() == labels[1:].tolist()  # each token's label is the next token


def test_the_loss_is_the_models_own(native, scenes):
    model, question, answer = native[0], "find the red block", "<loc11><loc05>"
    given = processed(native, scenes, question, answer)
    with torch.no_grad():
        expected = model(**given).loss
        part = scenes.part(0, 1)
        asked = Writer(native[1].tokenizer).rows(part, [(question, answer)])
        found = answer_loss(model, read(model, look(model, part), asked), asked)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_several_questions_about_a_picture_are_answered_as_if_asked_alone(native, scenes):
    """Rows of different lengths are padded, and a picture's tokens are shared by its questions."""
    model, writer = native[0], Writer(native[1].tokenizer)
    pairs = [("find the red block", "<loc11><loc05>"), ("how many blocks", "two"), ("show me it", "left"), ("a", "no")]
    with torch.no_grad():
        asked = writer.rows(scenes.part(0, 2), pairs)
        together = read(model, look(model, asked.scenes), asked)
        for i, pair in enumerate(pairs):
            one = writer.rows(scenes.part(i // 2, i // 2 + 1), [pair])
            alone = read(model, look(model, one.scenes), one)[0]
            torch.testing.assert_close(together[i, : len(alone)], alone, rtol=0, atol=1e-5)
