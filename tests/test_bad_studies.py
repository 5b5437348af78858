"""Broken studies, each refused by the real reader: at once, in one sentence that holds the place and the value."""

import os
import time
from pathlib import Path

import pytest
from bad_studies import BAD, GOOD, MODELS, Bad
from commands import refusal

from ablations.runs import wanted
from ablations.study_file import read_study
from workbench.errors import UserError
from workbench.names import check_names
from workbench.plan import Finetune

SECOND = 1.0


def write(folder: Path, content: str | bytes, name: str = "mine.toml") -> str:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return str(folder / name)


def refused(file: str) -> str:
    """What the reader says, which is one sentence about that file, said within a second of this process's time."""
    start = time.process_time()
    with pytest.raises(UserError) as caught:
        read_study(file)
    assert time.process_time() - start < SECOND
    said = str(caught.value)
    assert said.startswith(file) and len(said) < 1000 and "pydantic" not in said
    return said.removeprefix(file)


def changed(bad: Bad) -> str:
    assert bad.old in GOOD
    return GOOD.replace(bad.old, bad.new, 1)


def test_the_study_that_is_broken_here_is_whole(tmp_path: Path):
    assert len(wanted(read_study(write(tmp_path, GOOD)))) == 7
    assert len({changed(bad) for bad in BAD}) == len(BAD) > 60


@pytest.mark.parametrize("bad", BAD, ids=[f"{number}-{bad.new[:30]!r}" for number, bad in enumerate(BAD)])
def test_a_broken_study_is_refused_with_place_and_value(tmp_path: Path, bad: Bad):
    said = refused(write(tmp_path, changed(bad)))
    assert [part for part in bad.says if part not in said] == [], said


@pytest.mark.parametrize("bad", MODELS, ids=[bad.says[0] for bad in MODELS])
def test_a_model_that_there_is_not_is_refused_before_anything_runs(tmp_path: Path, bad: Bad):
    plans = [run.plan for run in wanted(read_study(write(tmp_path, changed(bad))))]
    with pytest.raises(UserError) as caught:
        for plan in plans:
            if isinstance(plan, Finetune):
                check_names(plan.spec)
    assert all(part in str(caught.value) for part in bad.says)


FILES = {
    "empty": (b"", "name: Field required"),
    "zeros": (bytes(4096), "is not TOML"),
    "a-picture": (b"\x89PNG\r\n\x1a\n\x00\xff\xfe", "is not TOML"),
    "utf-16": (GOOD.encode("utf-16"), "is not TOML"),
    "json": (b'{"name": "mine"}', "is not TOML"),
    "brackets": (b"name = " + b"[" * 100_000, "is not TOML"),
    "a-list": (b"[[name]]\n[[name]]\n", "name: Input should be a valid string"),
}


@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_study_is_refused(tmp_path: Path, kind: str):
    content, says = FILES[kind]
    assert says in refused(write(tmp_path, content))


def test_a_mark_that_some_editors_put_in_front_does_no_harm(tmp_path: Path):
    plain, marked = (read_study(write(tmp_path, content)) for content in (GOOD, b"\xef\xbb\xbf" + GOOD.encode()))
    assert [run.id for run in wanted(plain)] == [run.id for run in wanted(marked)]


@pytest.mark.parametrize(
    "name", ["folder.toml", "nothing.toml", "loop.toml", "zeros.toml", "pipe.toml", "a" * 300 + ".toml"]
)
def test_what_is_no_file_is_refused(tmp_path: Path, name: str):
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "loop.toml").symlink_to(tmp_path / "loop.toml")
    (tmp_path / "zeros.toml").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(UserError, match="No study file .*Ready-made ones: demo"):
        read_study(str(tmp_path / name))


EXTENDING = {
    'extends = "mine.toml"': "extends 'mine.toml', which extends this study in turn",
    'extends = "nothing"': "No study named 'nothing'",
    "extends = 3": "No study named '3'",
    'extends = "smkoe"': "Did you mean 'smoke'",
    'extends = "smoke"\narms = [1]': "instance of Arm (got 1)",
    'extends = "smoke"\narms = 3': "arms",
    'extends = "smoke"\n[[arms]]\nedits = []': "arms",
    'extends = "smoke"\n[[arms]]\nname = ["a"]': "arms",
    'extends = "nameless.toml"\n[[arms]]\nname = "b"': "name: Field required",
    f'extends = "{"a" * 300}"': "No study named",
    'extends = "smoke"\nbudget = 3': "budget",
    'extends = "smoke"\ndata = { kind = "folder", path = "/dev/null/a" }': "/dev/null/a",
    f'extends = "smoke"\ndata = {{ kind = "folder", path = "{"a" * 300}" }}': "aaaa",
    'extends = "smoke"\ndata = { kind = "folder", path = "a\\u0000b" }': "data",
}


@pytest.mark.parametrize("text", EXTENDING, ids=[text[:40] for text in EXTENDING])
def test_a_study_that_extends_what_it_cannot_is_refused(tmp_path: Path, text: str):
    write(tmp_path, "arms = [{}]", "nameless.toml")
    with pytest.raises(UserError) as caught:
        read_study(write(tmp_path, text))
    assert EXTENDING[text] in str(caught.value)


@pytest.mark.parametrize("command", ["plan", "run", "table", "report", "power"])
def test_every_command_refuses_it_in_one_sentence(tmp_path: Path, command: str):
    file = write(tmp_path, GOOD.replace("batch =", "bacth ="))
    assert refusal(command, file).startswith(f"error: {file}: budget.bacth: No key named 'bacth'")
    assert refusal(command, write(tmp_path, bytes(99), "zeros.toml")).startswith("error: ")
    assert refusal(command, str(tmp_path)).startswith("error: No study named")
