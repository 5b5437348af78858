"""docs/studies.md is true: its examples can be read, and every field, input, edit and ready-made study is on it."""

import re
from pathlib import Path
from typing import get_args

import pytest

from ablations.arms import Arm
from ablations.study_file import read_study, ready_made
from workbench.edits import Edit
from workbench.plan import Inputs

PAGE = (Path(__file__).parent.parent / "docs/studies.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_is_a_study_or_a_part_of_one(number: int, tmp_path: Path):
    example, path = EXAMPLES[number], tmp_path / "example.toml"
    head = "" if example.startswith(("name", "extends")) else 'extends = "modality"\nname = "example"\n'
    path.write_text(head + example)
    read_study(str(path))


def test_every_field_and_value_of_an_arm_is_on_the_page():
    inputs = [value for field in Inputs.model_fields.values() for value in get_args(field.annotation)]
    edits = [edit.model_fields["edit"].default for edit in get_args(get_args(Edit)[0])]
    for name in (*Arm.model_fields, *inputs, *ready_made()):
        assert re.search(rf"`{name}(`| =)", PAGE), name
    assert all(f'{{ edit = "{edit}"' in PAGE for edit in edits)
    assert "`extends = " in PAGE and "`--set PATH=VALUE`" in PAGE and "`data.mishaps`" in PAGE
