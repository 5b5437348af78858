"""Dashboards: what a run wrote arrives as it was written, once, and the run is no other for it."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import COMMANDS, refusal, say
from conftest import SmallRun
from recorded import record_study
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ablations.logged import logged
from ablations.runs import wanted
from ablations.study_file import read_study
from workbench.record import file_hash
from workbench.sinks.contract import Logged, Sink
from workbench.sinks.mirror import Mirrored, mirror
from workbench.sinks.registry import SINKS, sink_folder


@pytest.fixture
def root(small_run: SmallRun, tmp_path: Path) -> Path:
    """The one finished run, in a folder of its own."""
    shutil.copytree(small_run.record.folder, tmp_path / "runs" / small_run.record.id)
    return tmp_path / "runs"


def events(folder: Path) -> Any:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()


def written(root: Path) -> list[Path]:
    return sorted(path for path in sink_folder(root, "tensorboard", "smoke").iterdir() if path.is_dir())


class Kept(Sink):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.runs: list[str] = []

    def write(self, run: Logged) -> None:
        self.runs.append(run.name)

    def where(self) -> str:
        return "here"


# --- what arrives


def test_tensorboard_has_every_figure_of_the_log_at_its_step(root: Path, small_run: SmallRun):
    said = say("log", "smoke", "--to", "tensorboard", "--root", str(root))
    assert said.code == 0 and "1 runs logged to tensorboard, 0 had been before" in said.error + said.out
    (folder,) = written(root)
    assert folder.name == f"all-trained-seed-0-{small_run.record.id}"
    seen, rows = events(folder), small_run.record.log()
    assert len(rows) == 6 and {"train/loss", "train/lr", "train/grad_norm"} < set(rows[0])
    for key in set(rows[0]) - {"train/step"}:
        arrived = [(point.step, point.value) for point in seen.Scalars(key)]
        assert arrived == [(row["train/step"], pytest.approx(row[key], rel=1e-6)) for row in rows], key
    (success,) = seen.Scalars("eval/success")
    (of_the_task,) = seen.Scalars("eval/success/reach")
    assert success.step == 6 and success.value == of_the_task.value == small_run.record.result["success"]
    assert seen.Scalars("eval/episodes")[0].value == 4
    (plan,) = seen.Tensors("plan/text_summary")
    told = plan.tensor_proto.string_val[0].decode().removeprefix("```json\n").removesuffix("\n```")
    assert json.loads(told) == small_run.record.plan.model_dump(mode="json")


def test_every_kind_of_run_of_a_study_is_called_by_its_arm(tmp_path: Path):
    file, root = record_study(tmp_path)
    study = read_study(file)
    found = logged(study, root)
    assert {run.record.id for run in found} <= {run.id for run in wanted(study)} and len(found) > 10
    assert len({run.name for run in found}) == len(found)
    for run in found:
        assert run.study == study.name and run.name.startswith(run.arm) and ", seed " in run.name
        outcome = run.outcome()
        if run.record.error is None and run.record.plan.kind != "inject":
            assert outcome["eval/success"] == run.record.result["success"]
            shares = [value for key, value in outcome.items() if key.startswith("eval/success/")]
            assert min(shares) <= outcome["eval/success"] <= max(shares)
        else:
            assert outcome == {}
    assert any(run.record.error is not None for run in found) and any(run.record.plan.kind == "inject" for run in found)


# --- once


def test_a_run_is_written_once_and_again_only_where_it_was_carried_out_again(root: Path, small_run: SmallRun):
    runs, sink, notes = logged(small_run.study, root), Kept(), root / "logs" / "kept"
    assert mirror(runs, sink, notes) == Mirrored(1, 0)
    assert mirror(runs, sink, notes) == Mirrored(0, 1) and len(sink.runs) == 1
    result = root / small_run.record.id / "result.json"
    result.write_text(result.read_text() + "\n")
    assert mirror(runs, sink, notes) == Mirrored(1, 0) and len(sink.runs) == 2


def test_another_study_that_shares_the_run_has_it_too(root: Path):
    for name in ("first", "second"):
        assert say("log", "smoke", "--to", "tensorboard", "--root", str(root), "--set", f"name={name}").code == 0
    for name in ("first", "second"):
        assert len([one for one in sink_folder(root, "tensorboard", name).iterdir() if one.is_dir()]) == 1


def test_a_sink_that_fails_leaves_no_note(root: Path, small_run: SmallRun):
    class Breaks(Kept):
        def write(self, run: Logged) -> None:
            raise OSError("no space")

    runs, notes = logged(small_run.study, root), root / "logs" / "kept"
    with pytest.raises(OSError, match="no space"):
        mirror(runs, Breaks(), notes)
    assert mirror(runs, Kept(), notes) == Mirrored(1, 0)


@pytest.fixture
def killed(root: Path) -> Iterator[Path]:
    """TensorBoard was being written when the process was killed."""
    code = (
        "import os, signal; from workbench.sinks import tensorboard; "
        "tensorboard.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL); "
        "from workbench.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "log", "smoke", "--to", "tensorboard", "--root", str(root)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    yield root


def test_a_call_that_was_killed_leaves_nothing_that_looks_whole_and_is_made_up_for(killed: Path):
    assert [path.name[0] for path in written(killed)] == ["."]
    assert say("log", "smoke", "--to", "tensorboard", "--root", str(killed)).code == 0
    (folder,) = written(killed)
    assert len(events(folder).Scalars("train/loss")) == 6


def test_two_calls_at_once_take_turns_and_write_it_once(root: Path, small_run: SmallRun):
    runs, notes, sinks = logged(small_run.study, root), root / "logs" / "kept", (Kept(), Kept())
    notes.mkdir(parents=True)
    calls = [threading.Thread(target=mirror, args=(runs, sink, notes)) for sink in sinks]
    with (notes / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for call in calls:
            call.start()
        for call in calls:
            call.join(0.2)
            assert call.is_alive() and not any(sink.runs for sink in sinks)
    for call in calls:
        call.join(30)
    assert sorted(len(sink.runs) for sink in sinks) == [0, 1]


# --- beside the runs


def test_the_record_is_the_same_with_and_without(root: Path, small_run: SmallRun):
    folder = root / small_run.record.id
    before = {path.name: file_hash(path) for path in folder.iterdir() if path.is_file()}
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    say("log", "smoke", "--to", "tensorboard", "--root", str(root))
    assert before == {path.name: file_hash(path) for path in folder.iterdir() if path.is_file()}
    assert times == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_package_that_is_missing_is_told_before_anything_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("wandb", "trackio"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    for name in SINKS:
        start = time.process_time()
        for command in (("run", "smoke", "--log", name), ("log", "smoke", "--to", name)):
            assert f"pip install 'vla-workbench[{name}]'" in refusal(*command, "--root", str(tmp_path / "runs"))
        assert time.process_time() - start < 3 and not (tmp_path / "runs").exists()


def test_a_study_that_never_ran_has_nothing_to_log(tmp_path: Path):
    said = say("log", "smoke", "--to", "tensorboard", "--root", str(tmp_path))
    assert said.code == 0 and "nothing to log" in said.out + said.error and os.listdir(tmp_path) == []


def test_the_commands_offer_every_sink_and_no_training_knows_of_one():
    assert {"log", "run"} <= set(COMMANDS)
    for command in ("run", "log"):
        assert all(name in say(command, "--help").out for name in SINKS)
    package = Path(mirror.__code__.co_filename).parent.parent
    for path in package.rglob("*.py"):
        if path.parent.name != "sinks" and path.name != "options.py":
            assert "workbench.sinks" not in path.read_text(), path
