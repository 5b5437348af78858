"""The README is followed to the letter by newcomers: its commands exist, and its table is the one measured."""

import json
import re
from pathlib import Path

import pytest
from commands import COMMANDS

from ablations.report.text import WRITERS
from ablations.table import Table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CALLED = set(re.findall(r"(?:`|&& )workbench ([a-z]+(?: [a-z]+)?)", README))


def test_every_command_of_the_readme_exists_and_every_command_is_in_the_readme() -> None:
    assert {words if words in COMMANDS else words.split()[0] for words in CALLED} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_in_its_help(name: str) -> None:
    assert f"Example: workbench {name}" in (COMMANDS[name].help or "")


def test_the_readme_shows_the_measured_table() -> None:
    measured = Table.model_validate(json.loads((ROOT / "docs/demo/table.json").read_text()))
    whole = WRITERS["markdown"](measured).strip()
    assert (ROOT / "docs/demo/table.md").read_text().strip() == whole
    slots = [line for section in whole.split("\n## ")[1:3] for line in section.splitlines() if line.startswith("|")]
    assert len(slots) == 2 * (2 + len(measured.slots)) and all(line in README for line in slots)


def test_ci_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert "-c constraints.txt -e '.[test]' && pytest" in README
    assert "-c constraints.txt -e '.[test]'" in script and re.search(r"^pytest", script, re.MULTILINE)


def test_every_folder_is_introduced_by_a_sentence() -> None:
    for folder in ("encoders", "workbench", "ablations", "configs", "tests", "docs"):
        assert re.search(rf"^- `{folder}/`: \w", README, re.MULTILINE)


def test_links_between_the_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} → {target}"
