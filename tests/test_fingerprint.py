import os
import shutil
from pathlib import Path

import pytest

from ablations.runs import wanted
from ablations.study import Study
from workbench.backbones.source import EMBEDDED
from workbench.build import build
from workbench.errors import UserError
from workbench.fingerprint import BLOCK, BLOCKS, fingerprint, local_names, pinned
from workbench.spec import Slot, Spec


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A backbone of the user's own."""
    return Path(shutil.copytree(EMBEDDED, tmp_path / "own"))


def study(backbone: Path) -> Study:
    tables = {"budget": {"steps": 1}, "protocol": {}, "data": {"kind": "expert"}, "arms": [{"name": "all-trained"}]}
    return Study.model_validate({"name": "own", "question": "?", "base": {"backbone": str(backbone)}, **tables})


def trained_on(path: Path) -> None:
    """One byte in the middle of the weights is another."""
    file = path / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_other_weights_in_the_same_folder_are_another_run(own: Path):
    before = wanted(study(own))[0].id
    assert wanted(study(own))[0].id == before
    trained_on(own)
    assert wanted(study(own))[0].id != before


def test_a_folder_that_changed_after_planning_is_refused(own: Path, tmp_path: Path):
    spec = pinned(Spec(backbone=str(own)))
    trained_on(own)
    with pytest.raises(UserError, match="has changed since it was planned"):
        build(spec, 0, chunk=2, root=tmp_path)


def test_paths_are_found_wherever_a_spec_may_name_one(own: Path, tmp_path: Path):
    weights = own / "model.safetensors"
    vision = Slot(module=f"fused:hf:{own}+dinov2-small@{weights}#norm", weights="random")
    assert local_names(Spec(vision=vision)) == sorted([str(own), str(weights)])
    assert local_names(Spec(backbone="Qwen/Qwen2.5-VL-3B-Instruct")) == local_names(Spec()) == []


def test_a_large_file_is_told_by_any_block_and_its_size(tmp_path: Path):
    file, size = tmp_path / "large.safetensors", 2 * BLOCK * BLOCKS
    file.write_bytes(bytes(size))
    first = fingerprint(file)
    for change in (lambda f: f.seek(size - 1), lambda f: f.seek(0)):
        with file.open("r+b") as content:
            change(content)
            content.write(b"x")
        os.utime(file, ns=(1, hash(change) % 10**9))
        assert fingerprint(file) != first
    file.write_bytes(bytes(size + 1))
    assert fingerprint(file) != first
