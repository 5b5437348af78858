"""A recorded run is carried out again beside its record, and what differs is told."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import SmallRun
from typer.testing import CliRunner

from workbench.cli import app
from workbench.errors import UserError
from workbench.plan import Evaluate, Inputs, run_id
from workbench.recipes import Expert
from workbench.record import collected_folder, write_result
from workbench.reproduce import reproduce


@pytest.fixture
def root(small_run: SmallRun, tmp_path: Path) -> Path:
    return shutil.copytree(small_run.root, tmp_path / "runs")


def everything(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_run_is_reproduced_to_the_last_bit_and_nothing_of_the_root_changes(small_run: SmallRun, root: Path):
    before = everything(root)
    found = reproduce(root, small_run.record.id)
    assert found.same and {one.what for one in found.results} == {
        "data_digest",
        "weights_sha256",
        "manifest",
        "losses",
        "episodes",
        "success",
    }
    assert found.surroundings == () and everything(root) == before


def test_demonstrations_that_are_gone_are_collected_again(small_run: SmallRun, root: Path):
    assert isinstance(small_run.plan.data, Expert)
    folder = collected_folder(root, small_run.plan.data)
    shutil.rmtree(folder)
    assert reproduce(root, small_run.record.id).same and not folder.exists()


def test_what_was_changed_in_the_record_is_found(small_run: SmallRun, root: Path):
    folder = root / small_run.record.id
    result = json.loads((folder / "result.json").read_text())
    log = (folder / "log.jsonl").read_text()
    (folder / "log.jsonl").write_text(log.replace('"train/loss": ', '"train/loss": 1', 1))
    write_result(folder, result | {"weights_sha256": "0" * 64})
    found = reproduce(root, small_run.record.id)
    assert not found.same and [one.what for one in found.results if not one.same] == ["weights_sha256", "losses"]


def test_other_surroundings_are_told(small_run: SmallRun, root: Path):
    folder = root / small_run.record.id
    result = json.loads((folder / "result.json").read_text())
    result["machine"] |= {"revision": "an older one", "threads": 7}
    write_result(folder, result)
    found = reproduce(root, small_run.record.id)
    assert found.same and [one.what for one in found.surroundings] == ["revision", "threads"]
    assert found.surroundings[1].recorded == "7" and found.surroundings[1].again == "1"


def test_what_starts_from_another_run_is_reproduced_from_it(small_run: SmallRun, root: Path):
    from workbench.execute import execute

    blind = Evaluate(of=small_run.record.id, protocol=small_run.plan.protocol, inputs=Inputs(image="blank"))
    execute(blind, root)
    found = reproduce(root, run_id(blind))
    assert found.same and {one.what for one in found.results} == {"manifest", "episodes", "success"}


def test_a_failed_run_has_nothing_to_be_reproduced(small_run: SmallRun, root: Path):
    write_result(root / small_run.record.id, {"error": "NotFinite: loss", "episodes": 0})
    with pytest.raises(UserError, match=r"failed \(NotFinite: loss\)"):
        reproduce(root, small_run.record.id)


def test_the_command_says_so_in_a_table_and_in_json_and_by_its_exit_code(small_run: SmallRun, root: Path):
    command = ["reproduce", small_run.record.id, "--root", str(root)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and "reproduced, bit for bit" in done.stdout
    folder = root / small_run.record.id
    result = json.loads((folder / "result.json").read_text())
    write_result(folder, result | {"data_digest": "0" * 64})
    done = CliRunner().invoke(app, [*command, "--format", "json"])
    told = json.loads(done.stdout)
    assert done.exit_code == 1 and told["same"] is False
    assert [row["what"] for row in told["results"] if not row["same"]] == ["data_digest"]
    assert "NOT the same" in CliRunner().invoke(app, command).stdout


def test_show_tells_where_a_run_comes_from(small_run: SmallRun):
    done = CliRunner().invoke(app, ["show", small_run.record.id, "--root", str(small_run.root)])
    for what in ("command: ", "began: ", "ended: ", "host: ", "revision: ", "threads: 1", "packages: torch "):
        assert what in done.stdout, what
