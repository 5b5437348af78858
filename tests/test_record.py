import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import SmallRun
from torch import nn

from ablations.bottleneck import bottleneck
from ablations.gather import gather
from ablations.runs import wanted
from ablations.study import Study
from workbench.errors import NotFinite, UserError
from workbench.execute import execute
from workbench.plan import Budget, Evaluate, Finetune, run_id
from workbench.recipes import Expert
from workbench.record import (
    Record,
    begin,
    collected_folder,
    find,
    open_record,
    read_json,
    read_log,
    write_json,
    write_result,
)
from workbench.spec import SLOTS
from workbench.training.train import train


@pytest.fixture
def copied(small_run: SmallRun, tmp_path: Path) -> Record:
    """The small run's record in a root of its own, to be damaged."""
    shutil.copytree(small_run.record.folder, tmp_path / small_run.record.id)
    return open_record(tmp_path, small_run.record.id)


def test_the_id_of_a_run_is_the_same_before_it_and_from_its_record(small_run: SmallRun):
    record = open_record(small_run.root, run_id(small_run.plan))
    assert record.plan == small_run.plan
    assert run_id(record.plan) == record.id == record.folder.name


def test_a_record_holds_what_was_played_and_learned(small_run: SmallRun):
    outcomes = small_run.record.outcomes()
    starts = small_run.plan.protocol.manifest()
    assert [(o.task, o.initial_state, o.seed) for o in outcomes] == [(s.task, s.initial_state, s.seed) for s in starts]
    assert all(0 <= o.progress <= 1 and o.steps > 0 and o.seconds > 0 and o.instruction for o in outcomes)
    steps = list(read_log(small_run.record.folder))
    assert [row["train/step"] for row in steps] == list(range(small_run.plan.budget.steps))
    assert [row["slot"] for row in small_run.record.ledger()["rows"]] == list(SLOTS)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def last_line_lost(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def swapped(path: Path) -> None:
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))


def one_step_more(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["steps"] += 1
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("damage", [Path.unlink, cut, last_line_lost, swapped, one_step_more])
def test_damaged_episodes_are_named_and_refused(copied: Record, damage: Callable[[Path], None]):
    path = copied.folder / "episodes.jsonl"
    damage(path)
    with pytest.raises(UserError, match=rf"{path} .*Delete {copied.folder} and run again"):
        copied.outcomes()


def one_bit_flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["result.json", "plan.json", "ledger.json", "log.jsonl"])
def test_one_flipped_bit_is_found_wherever_it_is(copied: Record, name: str):
    one_bit_flipped(copied.folder / name)
    with pytest.raises(UserError, match=rf"{copied.folder / name} .*Delete {copied.folder}"):
        record = find(copied.folder.parent, copied.plan)
        assert record is not None and record.ledger() and record.log()


def test_another_figure_in_a_result_is_found_by_its_seal(copied: Record):
    write_json(copied.folder / "result.json", copied.result | {"success": 1.0})
    with pytest.raises(UserError, match="its seal is not that of its content"):
        open_record(copied.folder.parent, copied.id)


def test_a_record_from_before_there_were_seals_is_read(copied: Record):
    older = {key: value for key, value in copied.result.items() if key not in ("seal", "sealed")}
    write_json(copied.folder / "result.json", older)
    record = open_record(copied.folder.parent, copied.id)
    assert record.ledger() == copied.ledger() and record.log() == copied.log()


@pytest.mark.parametrize("name", ["result.json", "plan.json"])
def test_a_truncated_record_is_named_and_refused_not_run_again_in_silence(copied: Record, name: str):
    cut(copied.folder / name)
    with pytest.raises(UserError, match=rf"{copied.folder / name} is truncated .*Delete {copied.folder}"):
        find(copied.folder.parent, copied.plan)


def test_a_truncated_or_missing_ledger_is_named_and_refused(copied: Record):
    path = copied.folder / "ledger.json"
    cut(path)
    for _ in range(2):
        with pytest.raises(UserError, match=rf"{path} is missing, truncated or was changed"):
            copied.ledger()
        path.unlink(missing_ok=True)


def test_a_plan_of_another_run_is_refused(copied: Record):
    other = copied.plan.model_copy(update={"seed": 1})
    write_json(copied.folder / "plan.json", other.model_dump(mode="json"))
    write_result(copied.folder, copied.result)
    with pytest.raises(UserError, match=rf"belongs to another run \({run_id(other)}\)"):
        find(copied.folder.parent, copied.plan)


def test_what_is_not_a_plan_is_refused(copied: Record):
    write_json(copied.folder / "plan.json", {"kind": "finetune"})
    with pytest.raises(UserError, match="is not a plan"):
        open_record(copied.folder.parent, copied.id)


def test_a_run_without_its_result_is_not_recorded(copied: Record):
    (copied.folder / "result.json").unlink()
    assert find(copied.folder.parent, copied.plan) is None
    with pytest.raises(UserError, match=rf"No finished run '{copied.id}' .* Finished: none"):
        open_record(copied.folder.parent, copied.id)


def test_an_unknown_run_is_refused_with_those_that_are_finished(small_run: SmallRun):
    with pytest.raises(UserError, match=rf"No finished run 'abc' .* Finished: .*{small_run.record.id}"):
        open_record(small_run.root, "abc")


def interrupted(root: Path, plan: Finetune, *names: str) -> Path:
    folder = root / run_id(plan)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("half a li")
    return folder


def test_a_run_without_checkpoints_keeps_nothing_of_an_interrupted_one(tmp_path: Path, small_run: SmallRun):
    folder = interrupted(tmp_path, small_run.plan, "log.jsonl", "ledger.json", "films/film.gif")
    assert begin(tmp_path, small_run.plan) == folder
    assert [path.name for path in folder.iterdir()] == ["plan.json"]


def test_a_run_with_checkpoints_keeps_these_and_its_log(tmp_path: Path, small_run: SmallRun):
    folder = interrupted(tmp_path, small_run.plan, "log.jsonl", "ledger.json", "checkpoints/1", "films/film.gif")
    assert begin(tmp_path, small_run.plan) == folder
    assert {path.name for path in folder.iterdir()} == {"plan.json", "checkpoints", "log.jsonl"}


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one(tmp_path: Path):
    path = tmp_path / "result.json"
    write_json(path, {"success": 0.5})
    with pytest.raises(TypeError):
        write_json(path, {"success": 0.9, "folder": tmp_path})
    assert read_json(path) == {"success": 0.5}


def test_nan_stops_training_before_the_optimiser_could_use_it():
    model = nn.Linear(2, 1)
    batches = [torch.ones(1, 2), torch.tensor([[1.0, float("nan")]]), torch.ones(1, 2)]
    steps = train(
        model, batches, loss=lambda x: {"error": model(x).pow(2).mean()}, budget=Budget(steps=3, warmup_steps=0)
    )
    next(steps)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(NotFinite, match=r"loss is not finite at step 1: \{'error': nan\}, tensor\(\[\[1\., nan\]\]\)"):
        next(steps)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_a_run_that_met_nan_is_recorded_and_shown_as_failed_not_as_zero(small_run: SmallRun, tmp_path: Path):
    assert isinstance(small_run.plan.data, Expert)
    data = collected_folder(tmp_path, small_run.plan.data)
    shutil.copytree(collected_folder(small_run.root, small_run.plan.data), data)
    arms = [arm for arm in small_run.study.arms if arm.name in ("all-trained", "blank-image")]
    explosive = small_run.study.budget.model_copy(update={"learning_rate": 1e30})
    study = small_run.study.model_copy(
        update={"budget": explosive, "arms": tuple(arms), "contrasts": (), "injections": {}}
    )
    trained, blank = (run.plan for run in wanted(study))
    assert isinstance(trained, Finetune) and isinstance(blank, Evaluate)
    for plan in (trained, blank):
        execute(plan, tmp_path)
    record, played = find(tmp_path, trained), find(tmp_path, blank)
    assert record is not None and played is not None
    assert record.error is not None and played.error is not None
    assert "NotFinite" in record.error and "at step" in record.error and "frames=(" in record.error
    assert record.id in played.error
    assert not (record.folder / "policy.safetensors").exists()
    _shown_as_failed(study, tmp_path)


def _shown_as_failed(study: Study, root: Path) -> None:
    gathered = gather(study, root)
    assert all(list(arm.failed) == [0] and not arm.outcomes and not arm.missing for arm in gathered.arms)
    for row in json.loads(bottleneck(gathered).as_json())["arms"]:
        assert row["success"] is None and row["ci95"] is None and row["seeds"] == 0
        assert "NotFinite" in row["failed"]["0"]
