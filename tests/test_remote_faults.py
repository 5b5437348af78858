"""Whatever a simulator does, the workbench says what happened; when the workbench goes, the simulator ends."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from processes import alive, children, until
from remote import HERE, SECRET, TINY, server, start, tiny
from sim_tiny import ASKS, DIES, FAILS, HANGS, PAINTS
from test_remote_wire import fake

from workbench.benchmarks.contract import Protocol
from workbench.benchmarks.remote.client import RemoteEnv
from workbench.benchmarks.remote.peer import TOKEN
from workbench.benchmarks.remote.simulators import SIMULATORS, Simulator
from workbench.benchmarks.remote.wire import Message, packed, receive, send
from workbench.errors import RunFailed, UserError

STILL, ALL = np.zeros((1, 7)), np.ones(1, bool)


def pid(env: RemoteEnv) -> int:
    process = env.peers[0].process
    assert process is not None
    return process.pid


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (DIES, r"ended at 'begin' \(killed by SIGKILL\)\. It wrote last:\n.*the table is on fire"),
        (FAILS, r"failed at 'begin':\n(.|\n)*ZeroDivisionError: the table has no legs"),
        (ASKS, r"failed at 'begin':\n(.|\n)*EOFError"),
    ],
)
def test_a_simulator_that_fails_in_mid_episode_fails_the_run_with_its_last_lines(state: int, said: str):
    with tiny() as env:
        env.begin([start(1)])
        env.advance(STILL, ALL)
        process = pid(env)
        with pytest.raises(RunFailed, match=said):
            env.begin([start(state)])
        assert not alive(process)
        with pytest.raises(RunFailed):
            env.observe()


def test_one_that_does_not_answer_is_waited_for_no_longer_than_said_and_ended():
    with tiny(patience=0.4) as env:
        process, began = pid(env), time.monotonic()
        with pytest.raises(RunFailed, match=r"did not answer 'begin' in time\. It wrote last:\nthinking …"):
            env.begin([start(HANGS)])
        assert time.monotonic() - began < 5 and not alive(process)


def test_a_picture_of_another_size_is_not_played_on_with():
    with tiny() as env:
        env.begin([start(PAINTS)])
        with pytest.raises(RunFailed, match=r"the picture is uint8 \(65, 65, 3\), it has to be uint8 \(64, 64, 3\)"):
            env.observe()


def test_without_a_python_of_its_own_one_reads_what_to_install_and_which_variable_to_set(monkeypatch):
    for simulator in SIMULATORS.values():
        monkeypatch.delenv(simulator.python_variable, raising=False)
        with pytest.raises(UserError) as caught:
            RemoteEnv(Protocol(), 1, simulator)
        for part in (simulator.needs, simulator.python_variable, simulator.server_variable, "docs/simulators.md"):
            assert part in str(caught.value)


def test_a_python_that_is_none_or_lacks_the_simulator_is_said(monkeypatch, tmp_path: Path):
    monkeypatch.setenv(TINY.python_variable, "/nowhere/bin/python")
    with pytest.raises(UserError, match="WORKBENCH_PYTHON_TINY names /nowhere/bin/python, which does not start"):
        RemoteEnv(Protocol(), 1, TINY)
    monkeypatch.setenv(TINY.python_variable, "/bin/false")
    with pytest.raises(UserError, match=r"/bin/false .* did not serve tiny \(exit code 1\)"):
        RemoteEnv(Protocol(), 1, TINY)
    monkeypatch.setenv(TINY.python_variable, sys.executable)
    adapter = tmp_path / "sim_absent.py"
    adapter.write_text("import a_simulator_that_no_one_has\n")
    with pytest.raises(UserError, match="lacks nothing at all: ModuleNotFoundError.*a_simulator_that_no_one_has"):
        RemoteEnv(Protocol(), 1, at(adapter))


def at(adapter: Path) -> Simulator:
    return replace(TINY, adapter=adapter)


def test_an_adapter_for_other_rules_is_refused(tmp_path: Path):
    adapter = tmp_path / "sim_older.py"
    adapter.write_text(TINY.adapter.read_text().replace("b4bbe8408fd1", "000000000000"))
    with pytest.raises(UserError, match="plays tabletop-v1 by the rules 000000000000; .* by the rules b4bbe8408fd1"):
        RemoteEnv(Protocol(), 1, at(adapter))


def test_the_token_is_on_no_command_line_and_the_door_opens_to_this_machine_alone():
    with tiny() as env:
        told = Path(f"/proc/{pid(env)}/cmdline").read_text()
        assert "server.py" in told and "sim_tiny.py" in told and TOKEN not in told
        assert env.peers[0].line.getpeername()[0] == "127.0.0.1"
        port = env.peers[0].line.getpeername()[1]
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line]
        assert f"0100007F:{port:04X}" in listening and f"00000000:{port:04X}" not in listening


def test_a_simulators_own_variables_lead_it_to_its_own_libraries(monkeypatch, tmp_path: Path):
    adapter = tmp_path / "sim_curious.py"
    adapter.write_text("import os\nraise ImportError(sorted(set(os.environ) & {'PYTHONPATH', 'WORKBENCH_TOKEN'}))\n")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    with pytest.raises(UserError, match=r"ImportError: \[\]"):
        RemoteEnv(Protocol(), 1, at(adapter))


def test_a_server_that_runs_already_is_found_and_serves_one_workbench_after_the_other(monkeypatch):
    with server() as port:
        monkeypatch.setenv(TINY.server_variable, f"127.0.0.1:{port}")
        monkeypatch.setenv(TOKEN, SECRET)
        for state in (3, 4):
            with tiny() as env:
                env.begin([start(state)])
                assert env.observe()["pixels"].max() == state and env.peers[0].process is None
        with pytest.raises(UserError, match=r"5 episodes of tiny need 2 servers, 4 each; .* names 1"), tiny(5):
            pass
        monkeypatch.setenv(TOKEN, SECRET + "?")
        with pytest.raises(UserError, match="refused 'hello': This is not the token"), tiny():
            pass
        monkeypatch.delenv(TOKEN)
        with pytest.raises(UserError, match="WORKBENCH_TOKEN is not"), tiny():
            pass
    for named, said in ((f"127.0.0.1:{port}", "No server of tiny answers"), ("here", "expected a host and a port")):
        monkeypatch.setenv(TOKEN, SECRET)
        monkeypatch.setenv(TINY.server_variable, named)
        with pytest.raises(UserError, match=said), tiny():
            pass


def test_a_stranger_at_the_door_neither_gets_in_nor_keeps_the_workbench_out():
    with server() as port:
        for said in (Message("hello", {"token": ""}), Message("begin"), Message("hello", {"token": [SECRET]})):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
                send(line, said)
                assert receive(line, time.monotonic() + 5).fields["message"].startswith("This is not the token")
        stranger = socket.create_connection(("127.0.0.1", port), timeout=5)
        stranger.close()
        with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
            send(line, Message("hello", {"token": SECRET}))
            assert "does not say what it has to" in receive(line, time.monotonic() + 5).fields["message"]


def test_requests_that_make_no_sense_are_refused(monkeypatch):
    place = {"task": "reach", "initial_state": 1, "seed": 1}
    asked = [
        (Message("reboot"), "There is no request 'reboot'"),
        (Message("__init__"), "There is no request '__init__'"),
        (Message("begin", {"rows": [0]}), "begin needs rows and as many starts"),
        (Message("begin", {"rows": [7], "starts": [place]}), "There is no row 7; there are 1"),
        (Message("begin", {"rows": [0], "starts": [{"task": "x"}]}), "A start is a map of"),
        (Message("advance", {}, {"rows": np.zeros(1, int)}), "advance needs rows"),
        (Message("advance", {}, {"rows": np.zeros(1, int), "actions": STILL}), "No episode has begun in row 0"),
        (Message("leave", {"row": True}), "There is no row True"),
    ]
    with server() as port:
        monkeypatch.setenv(TINY.server_variable, f"127.0.0.1:{port}")
        monkeypatch.setenv(TOKEN, SECRET)
        for message, said in asked:
            with tiny() as env, pytest.raises(UserError) as caught:
                env.peers[0].ask(message)
            assert said in str(caught.value)


def answering(*answers: Message) -> fake:
    """A server that says these things."""
    return fake(lambda line: [line.sendall(part) for one in answers for part in packed(one)])


GOOD = {"age": np.zeros(1, int), "best": np.zeros(1), "lost": np.zeros(1, bool)}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Message("observe"), "it answered 'observe'"),
        (Message("begin", {}, GOOD), "no instruction for each row"),
        (Message("begin", {"instructions": [3]}, GOOD), "int for a sentence"),
        (Message("begin", {"instructions": ["a"]}, GOOD | {"age": np.zeros(2, int)}), r"int64 \(2,\) for age"),
        (Message("begin", {"instructions": ["a"]}, GOOD | {"best": np.zeros(1, int)}), r"int64 \(1,\) for best"),
        (Message("begin", {"instructions": ["a"]}, {}), "nothing for age"),
    ],
)
def test_an_answer_that_is_not_what_was_promised_fails_the_run(answer: Message, said: str, monkeypatch):
    with answering(Message("hello"), answer) as port:
        monkeypatch.setenv(TINY.server_variable, f"127.0.0.1:{port}")
        monkeypatch.setenv(TOKEN, SECRET)
        with tiny() as env, pytest.raises(RunFailed, match=f"no proper answer to 'begin': .*{said}"):
            env.begin([start(1)])


WORKBENCH = f"""
import sys, time
sys.path.insert(0, {str(HERE)!r})
from remote import tiny, start
with tiny() as env:
    env.begin([start(1)])
    print(env.peers[0].process.pid, flush=True)
    BUSY
"""


@pytest.mark.parametrize("busy", ["time.sleep(60)", "env.begin([start(67)])"])
def test_the_simulator_ends_with_a_workbench_that_is_killed(busy: str):
    script = [sys.executable, "-c", WORKBENCH.replace("BUSY", busy)]
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}) as parent:
        assert parent.stdout is not None
        simulator = int(parent.stdout.readline())
        assert simulator in children(parent.pid) and alive(simulator)
        parent.kill()
    assert until(lambda: not alive(simulator), 10)
