import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import COMMANDS, say
from conftest import SmallRun
from processes import alive, at_work, until

from ablations.runs import wanted
from ablations.study_file import CONFIGS, read_study
from workbench.cli import main
from workbench.plan import run_id
from workbench.recipes import Expert
from workbench.record import collected_folder, find

HOUSE = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "workbench.cli"]
HELP_SECONDS = 0.5


def cpu_seconds(*arguments: str) -> float:
    """User and system time of one start of the command."""
    child = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, cwd=HOUSE)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return usage.ru_utime + usage.ru_stime


def test_help_is_instant():
    assert min(cpu_seconds("--help") for _ in range(3)) < HELP_SECONDS


def test_every_command_has_a_sentence_and_an_example():
    assert {"demo", "run", "plan", "table", "show", "collect", "pretrain", "encoders compare"} <= set(COMMANDS)
    for name, command in COMMANDS.items():
        assert f"Example: workbench {name}" in command.help, name
        assert all(option.help for option in command.params if option.name not in ("root", "help")), name


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says to a user's mistake: one sentence on standard error, exit code 2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["workbench", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1, error
    return error


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command prints where all is well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["workbench", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_inspect_prints_slots_that_add_up_and_the_prompt(capsys: pytest.CaptureFixture[str]):
    seen = json.loads(printed(capsys, "inspect", "embedded", "--format", "json"))
    assert sum(part["parameters"] for part in seen["slots"]) == seen["total_parameters"] > 800_000
    assert seen["prompt"] == "<image><bos>{instruction}\n"
    bare = printed(capsys, "inspect", "embedded", "--config-only")
    assert "model.vision_tower" in bare and "prompt" not in bare


def test_inspect_refuses_an_unknown_backbone_and_an_unknown_encoder(capsys: pytest.CaptureFixture[str]):
    assert "'embeded'. Did you mean 'embedded'?" in refused(capsys, "inspect", "embeded")
    assert "Did you mean 'dinov2-small'?" in refused(capsys, "inspect", "embedded", "--vision", "dinov2-smal")


def altered(folder: Path, old: str, new: str) -> str:
    """The smoke study with one text replaced."""
    content = (CONFIGS / "smoke.toml").read_text()
    assert old in content
    path = folder / "altered.toml"
    path.write_text(content.replace(old, new, 1))
    return str(path)


def smoke_of(folder: Path, *arms: str) -> str:
    """The smoke study with only these arms, and no injection."""
    content = (CONFIGS / "smoke.toml").read_text()
    head, parts = content.split("[injections.cloning]")[0], content.split("[[contrasts]]")[0].split("[[arms]]")[1:]
    path = folder / "few-arms.toml"
    path.write_text(head + "".join(f"[[arms]]{part}" for part in parts if any(f'"{arm}"' in part for arm in arms)))
    return str(path)


def test_a_mistake_costs_one_sentence_and_exit_code_2(tmp_path: Path):
    study = altered(tmp_path, "rank = 4", "rnak = 4")
    done = subprocess.run([*COMMAND, "table", study], capture_output=True, text=True, cwd=HOUSE)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        f"error: {study}: arms.2.edits.0.tune.rnak: No key named 'rnak'. Did you mean 'rank'? "
        "Known: alpha, dora, dropout, kind, rank, targets.\n"
    )


@pytest.mark.parametrize("command", ["plan", "run", "table"])
def test_an_unknown_study_is_refused(capsys: pytest.CaptureFixture[str], command: str):
    assert "No study named 'smok'. Did you mean 'smoke'?" in refused(capsys, command, "smok")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('module = "tiny"', 'module = "dinov2-smal"', "No encoder named 'dinov2-smal'. Did you mean 'dinov2-small'?"),
        ('module = "mlp"', 'module = "mpl"', "No projector named 'mpl'. Did you mean 'mlp'?"),
        ("[data]", '[base]\nbackbone = "embeded"\n\n[data]', "No backbone named 'embeded'. Did you mean 'embedded'?"),
    ],
)
def test_an_unknown_module_is_refused_before_anything_is_done(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, old: str, new: str, said: str
):
    root = tmp_path / "runs"
    assert said in refused(capsys, "run", altered(tmp_path, old, new), "--root", str(root))
    assert not root.exists()


def test_an_unknown_run_or_task_is_refused(capsys: pytest.CaptureFixture[str], small_run: SmallRun, tmp_path: Path):
    assert small_run.record.id in refused(capsys, "show", "0123456789ab", "--root", str(small_run.root))
    assert "Did you mean 'reach'?" in refused(capsys, "collect", str(tmp_path / "new"), "--task", "reech")


def test_what_exists_is_never_written_over(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert f"{tmp_path} exists already" in refused(capsys, "collect", str(tmp_path))
    assert f"{tmp_path} exists already" in refused(capsys, "pretrain", "--output", str(tmp_path))


def test_a_root_that_is_a_file_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    file = tmp_path / "runs"
    file.write_text("")
    assert str(file) in refused(capsys, "run", "smoke", "--root", str(file))


def test_a_damaged_record_is_named_by_every_command_that_reads_it(
    capsys: pytest.CaptureFixture[str], small_run: SmallRun, tmp_path: Path
):
    folder = Path(shutil.copytree(small_run.record.folder, tmp_path / small_run.record.id))
    result = folder / "result.json"
    result.write_text(result.read_text()[:100])
    for arguments in (["plan", "smoke"], ["table", "smoke"], ["run", "smoke"], ["show", folder.name]):
        assert f"{result} is truncated" in refused(capsys, *arguments, "--root", str(tmp_path))


def test_a_plan_lists_every_run_and_what_is_recorded(
    capsys: pytest.CaptureFixture[str], small_run: SmallRun, tmp_path: Path
):
    study = smoke_of(tmp_path, "all-trained", "freeze-vision", "blank-image")
    plan = json.loads(printed(capsys, "plan", study, "--root", str(small_run.root), "--format", "json"))
    runs = {run["arm"]: run for run in plan["runs"]}
    assert [run["id"] for run in plan["runs"]] == [run.id for run in wanted(read_study(study))]
    assert {arm: run["recorded"] for arm, run in runs.items()} == {
        "all-trained": True,
        "freeze-vision": False,
        "blank-image": False,
    }
    trained = sum(row["trainable"] for row in small_run.record.ledger()["rows"])
    assert runs["all-trained"]["trainable_parameters"] == runs["blank-image"]["trainable_parameters"] == trained
    assert 0 < runs["freeze-vision"]["trainable_parameters"] < trained


def test_a_plan_is_printed_for_people_too(capsys: pytest.CaptureFixture[str], small_run: SmallRun, tmp_path: Path):
    shown = printed(capsys, "plan", smoke_of(tmp_path, "all-trained"), "--root", str(small_run.root))
    assert "1 of 1 runs recorded" in shown and small_run.record.id in shown


def test_a_table_shows_what_is_recorded_and_what_is_missing(capsys: pytest.CaptureFixture[str], small_run: SmallRun):
    table = json.loads(printed(capsys, "table", "smoke", "--root", str(small_run.root), "--format", "json"))
    assert {"study", "backbone", "benchmark", "manifest", "selection", "arms", "contrasts", "slots"} <= set(table)
    assert table["manifest"] == small_run.plan.protocol.manifest_digest()
    arms = {arm["name"]: arm for arm in table["arms"]}
    played = [outcome.success for outcome in small_run.record.outcomes()]
    assert arms["all-trained"]["success"] == sum(played) / len(played)
    assert arms["freeze-vision"]["success"] is None and arms["freeze-vision"]["missing"] == [0]


def test_a_run_is_shown_with_its_plan_ledger_and_result(capsys: pytest.CaptureFixture[str], small_run: SmallRun):
    shown = json.loads(printed(capsys, "show", small_run.record.id, "--root", str(small_run.root), "--format", "json"))
    assert shown["plan"] == small_run.plan.model_dump(mode="json")
    assert shown["ledger"] == small_run.record.ledger() and shown["result"] == small_run.record.result
    assert "vision" in printed(capsys, "show", small_run.record.id, "--root", str(small_run.root))


def test_a_full_disk_is_one_sentence_and_leaves_earlier_results(small_run: SmallRun, tiny_disk: Path, tmp_path: Path):
    assert isinstance(small_run.plan.data, Expert)
    data = collected_folder(small_run.root, small_run.plan.data)
    shutil.copytree(data, tiny_disk / data.relative_to(small_run.root))
    without_weights = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(small_run.record.folder, tiny_disk / small_run.record.id, ignore=without_weights)
    with (tiny_disk / "other people's data").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space"):
        while True:
            full.write(bytes(512))
    study = smoke_of(tmp_path, "all-trained", "freeze-vision")
    command = [*COMMAND, "run", study, "--root", tiny_disk, "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HOUSE)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: The disk is full (") and done.stderr.count("\n") == 1
    record = find(tiny_disk, small_run.plan)
    assert record is not None and record.outcomes() == small_run.record.outcomes()
    assert [path.parent.name for path in tiny_disk.glob("*/result.json")] == [run_id(small_run.plan)]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_ends_the_command_and_its_workers_in_a_sentence(
    small_run: SmallRun, tmp_path: Path, sent: signal.Signals, code: int
):
    root = Path(shutil.copytree(small_run.root, tmp_path / "runs"))
    long = ("--set", "arms.freeze-vision.budget={ steps = 100000 }")  # so that it is still at work
    command = subprocess.Popen(
        [*COMMAND, "run", smoke_of(tmp_path, "all-trained", "freeze-vision"), "--root", root, "--workers", "1", *long],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=HOUSE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    assert until(lambda: at_work(command.pid))
    workers = at_work(command.pid)
    os.killpg(command.pid, sent)
    error = command.communicate(timeout=10)[1]
    assert (command.returncode, error) == (code, "stopped; what is recorded is kept; start the same command again\n")
    assert not any(alive(worker) for worker in workers)
    assert find(root, small_run.plan) is not None


def test_run_answers_in_json_what_table_does_and_tells_its_progress_aside(small_run: SmallRun, tmp_path: Path):
    copy = shutil.copytree(small_run.root, tmp_path / "runs")  # a report is written there
    study, root = smoke_of(tmp_path, "all-trained"), ("--root", str(copy), "--format", "json")
    said = say("run", study, *root)
    assert said.code == 0 and "1 run, 1 of them recorded" in said.error
    assert json.loads(said.out) == json.loads(say("table", study, *root).out)
    assert json.loads(say("run", study, "--dry-run", *root).out)["runs"][0]["recorded"] is True
