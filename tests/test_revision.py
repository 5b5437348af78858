import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench import revision as module
from workbench.revision import revision


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository of one commit that the code believes to run from."""
    package = tmp_path / "workbench"
    package.mkdir()
    shutil.copy(module.__file__, package / "revision.py")
    monkeypatch.setattr(module, "__file__", str(package / "revision.py"))
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    revision.cache_clear()
    yield tmp_path
    revision.cache_clear()


def test_a_clean_checkout_is_its_commit_and_a_changed_one_says_so(checkout: Path):
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True).stdout.strip()
    assert revision() == head[:12]
    (checkout / "workbench/revision.py").write_text("changed = True\n")
    revision.cache_clear()
    assert revision() == f"{head[:12]}+"


def test_without_a_checkout_it_is_the_packages_version(checkout: Path):
    shutil.rmtree(checkout / ".git")
    assert revision().startswith("version ")
