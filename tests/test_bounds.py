"""A study that was passed on reads nothing outside its own folder and the current one, unless its user says so."""

from pathlib import Path

import pytest

from ablations.study import Study
from ablations.study_file import read_study
from workbench.errors import UserError

STUDY = 'extends = "smoke"\nname = "mine"\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, beside one with a study that came from elsewhere, and one that is nobody's business."""
    for name in ("here", "study", "private"):
        (tmp_path / name).mkdir()
    (tmp_path / "private" / "model").mkdir()
    (tmp_path / "private" / "model" / "config.json").write_text("{}")
    (tmp_path / "study" / "link").symlink_to(tmp_path / "private")
    (tmp_path / "private" / "base.toml").write_text('name = "base"\n')
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def read(here: Path, text: str, *changes: str) -> Study:
    file = here.parent / "study" / "mine.toml"
    file.write_text(text.replace("PRIVATE", str(here.parent / "private")))
    return read_study(str(file), changes, planning=True)


NAMED = {
    "data": '[data]\nkind = "folder"\npath = "PRIVATE/demos"\n',
    "data of an injection": '[injections.tip]\nobjective = "state"\nbudget = { steps = 1 }\n'
    'data = { kind = "folder", path = "PRIVATE/demos" }\n',
    "an objective": '[injections.tip]\nobjective = "fast-tokens:PRIVATE/model"\nbudget = { steps = 1 }\n'
    'data = { kind = "expert", split = "injection" }\n',
    "the base": '[base]\nbackbone = "PRIVATE/model"\n',
    "an arm": '[[arms]]\nname = "other"\nedits = [{ edit = "replace", slot = "vision", module = "hf:PRIVATE/model", '
    'weights = "pretrained" }, { edit = "replace", slot = "projector", module = "mlp", weights = "random" }]\n',
    "a way upwards": '[data]\nkind = "folder"\npath = "../private/demos"\n',
    "a link": '[data]\nkind = "folder"\npath = "../study/link/demos"\n',
    "a home": '[data]\nkind = "folder"\npath = "~root/demos"\n',
}


@pytest.mark.parametrize("text", NAMED.values(), ids=NAMED)
def test_what_lies_elsewhere_is_not_read(here: Path, text: str):
    with pytest.raises(UserError, match=r"mine\.toml names .*, which lies outside .* set WORKBENCH_ROOTS="):
        read(here, STUDY + text)


def test_a_base_that_lies_elsewhere_is_not_read(here: Path):
    for base in ("PRIVATE/base.toml", "../private/base.toml", "link/base.toml"):
        with pytest.raises(UserError, match=r"base\.toml, which lies outside"):
            read(here, f'extends = "{base}"\nname = "mine"\n')


@pytest.mark.parametrize("path", ["demos", "../study/demos", "../here/demos"])
def test_what_lies_in_either_folder_is_read(here: Path, path: str):
    assert read(here, f'{STUDY}[data]\nkind = "folder"\npath = "{path}"\n').data.model_dump()["path"] == path


def test_the_user_may_say_so(here: Path, monkeypatch: pytest.MonkeyPatch):
    private = here.parent / "private"
    typed = f'data={{ kind = "folder", path = "{private}/demos" }}'
    assert read(here, STUDY, typed).data.model_dump()["path"] == f"{private}/demos"
    for other in ("budget.steps=2", f"question={private}", f"question={private}/other/more"):
        with pytest.raises(UserError, match="lies outside"):
            read(here, f'{STUDY}[data]\nkind = "folder"\npath = "{private}/other"\n', other)
        with pytest.raises(UserError, match="lies outside"):
            read(here, f'{STUDY}[data]\nkind = "folder"\npath = "/"\n', "budget.steps=2")
    monkeypatch.setenv("WORKBENCH_ROOTS", f"/nowhere:{private}")
    assert read(here, STUDY + NAMED["data"]).data.model_dump()["path"] == f"{private}/demos"
