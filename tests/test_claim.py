import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from processes import until

from workbench import claim
from workbench.claim import Owner, Taken, Watch, bury, claimed

HOUSE = Path(__file__).parent.parent
JOBS = [f"job{number}" for number in range(12)]
CONTENDER = """
import sys, time
from pathlib import Path
from workbench.claim import Taken, Watch, claimed
root, jobs = Path(sys.argv[1]), sys.argv[2:]
watch = Watch(root)
while left := [job for job in jobs if not (root / job).exists()]:
    for job in left:
        try:
            if (over := watch.vacant(job)) is not None:
                with claimed(root, job, over=over):
                    if not (root / job).exists():
                        with (root / "done.txt").open("a") as done:
                            done.write(job + "\\n")
                        time.sleep(0.01)
                        (root / job).touch()
        except Taken:
            pass
    time.sleep(0.01)
"""
HOLDER = """
import sys, time
from pathlib import Path
from workbench.claim import claimed
with claimed(Path(sys.argv[1]), "job", over=int(sys.argv[2])):
    print("held", flush=True)
    time.sleep(1000)
"""


def started(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=HOUSE, text=True, stdout=subprocess.PIPE)


def holder(root: Path, over: int = 0) -> subprocess.Popen[str]:
    """Another process that holds the job `job` until it is killed."""
    process = started(HOLDER, str(root), str(over))
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def content(root: Path, generation: int) -> Path:
    return root / "claims" / f"job.{generation:04d}"


def made_elsewhere(root: Path, text: str | None = None) -> Path:
    """A claim that a process of another machine made, or what else `text` says."""
    owner = Owner("another kernel", os.getpid(), 1, "token")
    path = content(root, 1)
    path.parent.mkdir()
    path.write_text(json.dumps(owner.__dict__) if text is None else text)
    return path


def test_processes_that_compete_do_each_job_once(tmp_path: Path):
    contenders = [started(CONTENDER, str(tmp_path), *JOBS) for _ in range(4)]
    assert [contender.wait(60) for contender in contenders] == [0] * 4
    assert sorted((tmp_path / "done.txt").read_text().split()) == sorted(JOBS)
    assert os.listdir(tmp_path / "claims") == []


def test_a_job_that_nobody_claimed_is_free_and_is_held_by_one(tmp_path: Path):
    assert Watch(tmp_path).vacant("job") == 0
    with claimed(tmp_path, "job", over=0):
        assert Watch(tmp_path).vacant("job") is None
        assert Watch(tmp_path).vacant("jo") == Watch(tmp_path).vacant("job.0") == 0
        with pytest.raises(Taken, match="job.0001 is there already"), claimed(tmp_path, "job", over=0):
            raise AssertionError("held twice")
    assert Watch(tmp_path).vacant("job") == 0 and os.listdir(tmp_path / "claims") == []


def test_a_killed_owner_has_lost_its_claim_at_once(tmp_path: Path):
    owner, watch = holder(tmp_path), Watch(tmp_path)
    assert watch.vacant("job") is None
    owner.kill()  # it is not waited for: a zombie is dead
    assert until(lambda: watch.vacant("job") == 1, seconds=3)
    owner.wait()
    assert watch.vacant("job") == 1
    with claimed(tmp_path, "job", over=1):
        assert watch.vacant("job") is None


def test_a_process_id_that_was_given_again_is_another_process(tmp_path: Path):
    owner = holder(tmp_path)
    made = Owner(**json.loads(content(tmp_path, 1).read_text()))
    assert made.pid == owner.pid and made.lives()
    assert not replace(made, started=made.started + 1).lives()
    owner.kill()
    owner.wait()


def test_a_living_owner_of_this_machine_keeps_its_claim_without_a_heartbeat(tmp_path: Path):
    owner, watch = holder(tmp_path), Watch(tmp_path, expiry=0.0)
    os.kill(owner.pid, signal.SIGSTOP)
    assert [watch.vacant("job") for _ in range(3)] == [None] * 3
    owner.kill()
    owner.wait()


@pytest.mark.parametrize("text", [None, "", '{"machine": "an', "[]", "{}"])
def test_a_claim_of_another_machine_or_a_torn_one_expires_when_it_was_watched(tmp_path: Path, text: str | None):
    made = made_elsewhere(tmp_path, text)
    os.utime(made, (1.0, 1.0))  # however old it looks: clocks are not compared
    seconds = iter([0, 100, 150, 200, 269, 270])
    watch = Watch(tmp_path, expiry=120, clock=lambda: next(seconds))
    assert [watch.vacant("job") for _ in range(2)] == [None] * 2
    os.utime(made)  # its heart beats, which is seen after 150 seconds: the watch begins again
    assert [watch.vacant("job") for _ in range(4)] == [None, None, None, 1]


def test_a_new_owner_elsewhere_is_watched_from_the_start(tmp_path: Path):
    seconds = iter([0, 150])
    made, watch = made_elsewhere(tmp_path), Watch(tmp_path, expiry=120, clock=lambda: next(seconds))
    assert watch.vacant("job") is None
    made.with_name("job.0002").write_text(made.read_text())
    os.utime(made.with_name("job.0002"), ns=(made.stat().st_mtime_ns,) * 2)
    assert watch.vacant("job") is None


def test_a_heart_beats(tmp_path: Path):
    with claimed(tmp_path, "job", over=0, beat=0.02):
        os.utime(content(tmp_path, 1), (1.0, 1.0))
        assert until(lambda: content(tmp_path, 1).stat().st_mtime > 1.0, seconds=3)


def test_a_job_that_failed_is_given_back_and_its_claim_stays(tmp_path: Path):
    with pytest.raises(ValueError, match="it broke"), claimed(tmp_path, "job", over=0):
        raise ValueError("it broke")
    assert os.listdir(tmp_path / "claims") == ["job.0001"]
    assert Watch(tmp_path).vacant("job") == 1
    with claimed(tmp_path, "job", over=1):
        assert Watch(tmp_path).vacant("job") is None
    assert os.listdir(tmp_path / "claims") == []


def test_who_was_asleep_when_another_took_over_does_not_write(tmp_path: Path):
    written = list[str]()
    with pytest.raises(Taken, match="job.0001 was taken over"), claimed(tmp_path, "job", over=0) as claim:
        made = claimed(tmp_path, "job", over=1)
        made.__enter__()
        claim.confirm()
        written.append("result")
    assert written == [] and Watch(tmp_path).vacant("job") is None
    made.__exit__(None, None, None)
    assert os.listdir(tmp_path / "claims") == []


def test_a_heartbeat_notices_the_higher_claim_and_a_step_after_a_pause_looks_at_once(tmp_path: Path):
    with pytest.raises(Taken), claimed(tmp_path, "job", over=0, beat=0.02) as claim:
        content(tmp_path, 2).touch()
        assert until(lambda: claim.overtaken, seconds=3)
        claim.check()
    with pytest.raises(Taken), claimed(tmp_path, "job", over=2) as claim:
        claim.check()
        content(tmp_path, 4).touch()
        claim.check()  # nothing is looked at between two heartbeats
        claim.beaten -= 100  # it was asleep
        claim.check()


def test_an_owner_whose_claim_was_removed_has_lost_it(tmp_path: Path):
    with pytest.raises(Taken), claimed(tmp_path, "job", over=0, beat=0.02) as claim:
        content(tmp_path, 1).unlink()
        assert until(lambda: claim.overtaken, seconds=3)
        claim.check()


def test_an_older_number_that_is_free_again_is_no_claim(tmp_path: Path):
    made_elsewhere(tmp_path).rename(content(tmp_path, 2))
    begun = list[str]()
    with pytest.raises(Taken), claimed(tmp_path, "job", over=0):
        begun.append("a second owner")
    assert begun == [] and os.listdir(tmp_path / "claims") != []


def test_the_dead_are_buried_and_the_living_are_not(tmp_path: Path):
    bury(tmp_path, "job")
    owner = holder(tmp_path)
    bury(tmp_path, "job")
    assert Watch(tmp_path).vacant("job") is None
    owner.kill()
    owner.wait()
    bury(tmp_path, "job")
    assert content(tmp_path, 1).stat().st_mtime_ns == claim.GIVEN_BACK
    made = content(tmp_path, 2)
    made.write_text("")
    bury(tmp_path, "job")
    assert made.stat().st_mtime > 1.0


def test_a_full_disk_leaves_no_claim_behind(tiny_disk: Path):
    with (tiny_disk / "other people's data").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space"):
        while True:
            full.write(bytes(512))
    with pytest.raises(OSError, match=r"job\.0001") as caught, claimed(tiny_disk, "job", over=0):
        raise AssertionError("held")
    assert caught.value.errno == errno.ENOSPC
    assert Watch(tiny_disk).vacant("job") in (0, 1)
