"""Files of questions in the formats that others publish, and an objective that reads them."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from workbench.build import build
from workbench.collect import collect
from workbench.errors import UserError
from workbench.execute import execute
from workbench.fingerprint import contents_of
from workbench.objectives.facts import facts
from workbench.objectives.turn import turn_scores
from workbench.plan import Budget, Inject, run_id
from workbench.recipes import Expert
from workbench.record import collected_folder, open_record
from workbench.skills.files import read_questions
from workbench.spec import Frozen, Slot, Spec

SHADES = {"red": (200, 0, 0), "blue": (0, 0, 200)}


def picture(shade: str) -> Image.Image:
    return Image.new("RGB", (30, 20), SHADES[shade])


def encoded(shade: str) -> bytes:
    file = BytesIO()
    picture(shade).save(file, "PNG")
    return file.getvalue()


def llava(folder: Path, *, lines: bool = False) -> Path:
    """Two conversations about pictures in the folder, the second of two turns, and one about none."""
    for shade in SHADES:
        (folder / "images").mkdir(exist_ok=True)
        picture(shade).save(folder / "images" / f"{shade}.png")
    red = [{"from": "human", "value": "<image>\nwhich colour"}, {"from": "gpt", "value": "red"}]
    blue = [{"from": "human", "value": "which colour\n<image>"}, {"from": "gpt", "value": "blue "}]
    blue += [{"from": "human", "value": "where is it"}, {"from": "gpt", "value": "[(0.5, 0.25)]"}]
    content = [
        {"id": "0", "image": "images/red.png", "conversations": red},
        {"id": "1", "image": "images/blue.png", "conversations": blue},
        {"id": "2", "conversations": [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "hi"}]},
    ]
    file = folder / ("asked.jsonl" if lines else "asked.json")
    file.write_text("\n".join(map(json.dumps, content)) if lines else json.dumps(content))
    return file


@pytest.mark.parametrize("lines", [False, True])
def test_llavas_conversations_are_asked_turn_by_turn(lines: bool, tmp_path: Path):
    found = read_questions(llava(tmp_path, lines=lines))
    assert [(turn.question, turn.answer) for turn in found] == [
        ("which colour", "red"), ("which colour", "blue"), ("where is it", "[(0.5, 0.25)]")
    ]  # fmt: skip
    for turn, shade in zip(found, ("red", "blue", "blue"), strict=True):
        image = turn.image(16)
        assert image.shape == (16, 16, 3) and image.dtype == np.uint8 and (image == SHADES[shade]).all()


def test_robo2vlms_choices_have_letters(tmp_path: Path):
    row = {"id": "0", "question": "Is it grasped?", "choices": "['No', 'Yes', \"Can't tell\"]", "correct_answer": 1}
    rows = [row | {"image": {"bytes": encoded("red"), "path": None}}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    (turn,) = read_questions(tmp_path / "test.parquet")
    assert turn.question == "Is it grasped?\nA. No\nB. Yes\nC. Can't tell" and turn.answer == "B"
    assert (turn.image(8) == SHADES["red"]).all()


def test_vqasynths_messages_are_about_their_first_image(tmp_path: Path):
    def said(role: str, *texts: str) -> dict:
        parts = [{"index": None, "text": text, "type": "text"} for text in texts]
        return {
            "role": role,
            "content": [{"index": 0, "text": None, "type": "image"}, *parts] if role == "user" else parts,
        }

    images = [{"bytes": encoded(shade), "path": None} for shade in ("blue", "red")]
    rows = [{"messages": [said("user", "how far"), said("assistant", "2 m")], "images": images}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    (turn,) = read_questions(tmp_path / "test.parquet")
    assert (turn.question, turn.answer) == ("how far", "2 m") and (turn.image(8) == SHADES["blue"]).all()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none.json", None, "no file of questions"),
        ("a.json", "{]", "is not JSON"),
        ("a.json", "[]", "holds no question"),
        ("a.json", '[{"image": "a.png", "text": "?"}]', "row 0: it is in none of the known formats"),
        ("a.json", '[{"question": "?", "choices": ["a"], "correct_answer": 1, "image": "a.png"}]', "row 0"),
        ("a.parquet", "[]", "is not parquet"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(name: str, text: str | None, said: str, tmp_path: Path):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        read_questions(tmp_path / name)


def test_a_missing_picture_is_said(tmp_path: Path):
    file = llava(tmp_path)
    (tmp_path / "images" / "red.png").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        read_questions(file)[0].image(8)


def test_a_file_needs_nothing_that_only_a_simulator_knows_and_its_content_is_part_of_the_id(tmp_path: Path):
    file = llava(tmp_path)
    objective = f"questions:{file}"
    assert facts("questions:pointing").privileged and not facts(objective).privileged
    assert facts("questions:colours").control and not facts("questions:all").control
    before = contents_of(objective)
    assert list(before) == [str(file)]
    file.write_text(file.read_text().replace("blue ", "azure"))
    assert contents_of(objective) != before
    with pytest.raises(ValueError, match="No skill named 'pointin'"):
        Inject(objective="questions:pointin", spec=Spec(), data=Expert(privileged=True), budget=Budget())


@pytest.mark.slow
def test_an_injection_of_a_file_learns_its_answers(tmp_path: Path):
    file, data = llava(tmp_path), Expert(episodes=2, split="injection")
    collect(data, collected_folder(tmp_path, data))
    spec = Spec(head=Slot(module="chunk-mlp", weights="random", tune=Frozen()))
    budget = Budget(steps=25, batch=6, learning_rate=4e-4, warmup_steps=4)
    plan = Inject(
        objective=f"questions:{file}", spec=spec, data=data, budget=budget, contents=contents_of(f"questions:{file}")
    )
    execute(plan, tmp_path)
    record = open_record(tmp_path, run_id(plan))
    assert record.error is None and record.result["objective"] == {"questions": 3}
    again = Spec.model_validate(
        {name: {"weights": f"run:{record.id}"} for name in ("vision", "projector", "embeddings", "language")}
    )
    policy, backbone = build(again, 0, chunk=4, root=tmp_path)
    turns = read_questions(file)[:2]
    image_BHWC = torch.from_numpy(np.stack([turn.image(policy.vision.card.side) for turn in turns]))
    questions, answers = [turn.question for turn in turns], [turn.answer for turn in turns]
    assert turn_scores(policy.eval(), image_BHWC, questions, answers, backbone).mean() == 1
