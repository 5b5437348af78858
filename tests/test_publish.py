"""A policy folder stands alone: it plays the same episodes without its run, and nothing damaged is played."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import SmallRun
from safetensors.torch import load_file

from workbench.backbones.source import BACKBONES
from workbench.cli import main
from workbench.errors import UserError
from workbench.evaluate import in_manifest_order
from workbench.plan import Evaluate, Inputs
from workbench.player import player_of, training_plan
from workbench.publish import load_policy, save_policy
from workbench.record import open_record
from workbench.restarts import play


@pytest.fixture(scope="module")
def saved(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "policy"
    save_policy(small_run.record, folder)
    return folder


def test_a_saved_policy_has_the_same_bits_and_plays_the_same_episodes(small_run: SmallRun, saved: Path, tmp_path: Path):
    alone = Path(shutil.copytree(saved, tmp_path / "elsewhere"))
    player, config = load_policy(alone)
    stored = load_file(small_run.record.folder / "policy.safetensors")
    assert all(torch.equal(stored[name], found) for name, found in player.policy.state_dict().items())
    assert config.protocol == small_run.plan.protocol and config.run == small_run.record.id
    played = in_manifest_order(list(play(player, small_run.plan.protocol, Inputs())), small_run.plan.protocol)
    for one, recorded in zip(played, small_run.record.outcomes(), strict=True):
        assert (one.outcome.success, one.outcome.steps) == (recorded.success, recorded.steps)


def test_it_plays_where_its_backbone_is_not(saved: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(BACKBONES, "embedded", Path("/nowhere"))
    player, _ = load_policy(saved)
    assert player.backbone.tokenize(["reach"]).ids_BT.shape[0] == 1


def test_weights_that_were_changed_are_not_saved(small_run: SmallRun, tmp_path: Path):
    shutil.copytree(small_run.record.folder, tmp_path / small_run.record.id)
    weights = tmp_path / small_run.record.id / "policy.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match="truncated or was changed"):
        save_policy(open_record(tmp_path, small_run.record.id), tmp_path / "policy")
    assert not (tmp_path / "policy").exists()


def test_its_files_are_the_backbones_processor_the_statistics_and_a_card_with_the_ledger(saved: Path):
    files = {str(path.relative_to(saved)) for path in saved.rglob("*") if path.is_file()}
    assert {"config.json", "model.safetensors", "statistics.json", "ledger.json", "README.md"} <= files
    assert {"backbone/config.json", "backbone/tokenizer.json", "backbone/processor_config.json"} <= files
    assert not any(name.startswith("backbone/") and name.endswith(".safetensors") for name in files)
    card = (saved / "README.md").read_text()
    assert all(f"| {row['slot']} |" in card for row in json.loads((saved / "ledger.json").read_text())["rows"])
    assert not list(saved.parent.glob(".policy-*"))


def test_a_folder_that_exists_and_a_run_that_only_plays_are_refused(small_run: SmallRun, saved: Path):
    with pytest.raises(UserError, match="exists already"):
        save_policy(small_run.record, saved)
    only_plays = Evaluate(of=small_run.record.id, protocol=small_run.plan.protocol, inputs=Inputs())
    for use in (training_plan, player_of):
        with pytest.raises(UserError, match=f"only plays the policy of {small_run.record.id}: name that one"):
            use(replace(small_run.record, plan=only_plays))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "is no policy folder"),
        (lambda folder: (folder / "config.json").write_text('{"format": 1}'), "does not describe a policy"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"short"), "missing or truncated"),
        (lambda folder: (folder / "statistics.json").unlink(), "statistics.json is missing, truncated"),
    ],
)
def test_a_damaged_folder_is_named_and_refused(saved: Path, tmp_path: Path, damage, said: str):
    folder = Path(shutil.copytree(saved, tmp_path / "damaged"))
    damage(folder)
    with pytest.raises(UserError, match=said):
        load_policy(folder)


def command(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["workbench", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_save_and_evaluate_from_the_command_line(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "policy"
    assert command("save", small_run.record.id, str(folder), "--root", str(small_run.root)) == 0
    capsys.readouterr()
    assert command("evaluate", str(folder), "--task", "lift", "--episodes", "2", "--format", "json") == 0
    (row,) = json.loads(capsys.readouterr().out)["tasks"]
    assert (row["task"], row["episodes"]) == ("lift", 2) and 0 <= row["ci95"][0] <= row["success"] <= row["ci95"][1]
    assert command("evaluate", str(folder), "--task", "juggle") == 2
    assert "No task named 'juggle'" in capsys.readouterr().err
