"""One simulator's process, or a server that runs already: a line to ask, a limit to each answer, and a tidy end."""

import os
import secrets
import select
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO

from workbench.benchmarks.remote.simulators import Simulator
from workbench.benchmarks.remote.wire import Gone, Late, Message, Refused, receive, send
from workbench.errors import SimulatorFailed, UserError

SERVER = Path(__file__).parent / "server.py"
TOKEN = "WORKBENCH_TOKEN"
OURS = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")
"""What leads Python to our own libraries: a simulator has its own."""
STARTING = 60.0
"""Seconds until a server says where it listens."""
TAIL = 2000
"""Characters of what a simulator last wrote that an error shows."""


class Peer:
    """A line to one server. Each request is sent, then its answer received: several peers work at the same time.

    Raises SimulatorFailed, with the last lines that the simulator wrote, where it fails, ends or does not answer; it is
    closed by then, and so is its process, if it is ours.
    """

    def __init__(self, simulator: Simulator, line: socket.socket, process: subprocess.Popen | None, log: IO | None):
        self.simulator, self.line, self.process, self.log = simulator, line, process, log
        self.deadline = 0.0
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, message: Message, *, patience: float | None = None) -> None:
        """Ask; the answer has to be there within `patience` seconds from now, the simulator's own if none is given."""
        self.deadline = time.monotonic() + (patience or self.simulator.patience)
        try:
            send(self.line, message, self.deadline)
        except (Gone, Late, Refused) as error:
            raise self._failed(message.kind, error) from error

    def receive(self, kind: str) -> Message:
        """The answer to the request of that kind."""
        try:
            answer = receive(self.line, self.deadline)
        except (Gone, Late, Refused) as error:
            raise self._failed(kind, error) from error
        if answer.kind == "error":
            reason, said = answer.fields.get("reason"), str(answer.fields.get("message"))[-TAIL * 2 :]
            self.close()
            if reason == "missing":
                raise UserError(f"The Python of {self.simulator.world} lacks {self.simulator.needs}: {_last(said)}")
            if reason == "refused":
                raise UserError(f"The simulator of {self.simulator.world} refused {kind!r}: {said}")
            raise SimulatorFailed(f"The simulator of {self.simulator.world} failed at {kind!r}:\n{said}")
        if answer.kind != kind:
            raise self.wrong(kind, f"it answered {answer.kind[:40]!r}")
        return answer

    def ask(self, message: Message, *, patience: float | None = None) -> Message:
        self.send(message, patience=patience)
        return self.receive(message.kind)

    def wrong(self, kind: str, what: str) -> SimulatorFailed:
        """For an answer that is not what was promised; the line is closed."""
        self.close()
        return SimulatorFailed(f"The simulator of {self.simulator.world} gave no proper answer to {kind!r}: {what}.")

    def close(self, *, patience: float = 0.0) -> None:
        """End the line, and the process if it is ours: it has `patience` seconds to do so itself."""
        self.line.close()
        if self.process is not None:
            _end(self.process, patience)
        if self.log is not None and not self.log.closed:
            self.log.close()

    def _failed(self, kind: str, error: Exception) -> SimulatorFailed:
        name = self.simulator.world
        match error:
            case Late():
                said = f"The simulator of {name} did not answer {kind!r} in time"
            case Gone():
                said = f"The simulator of {name} ended at {kind!r}{_how(self.process)}"
            case _:
                said = f"The simulator of {name} gave no proper answer to {kind!r}: {error}"
        wrote = _tail(self.log)
        self.close()
        return SimulatorFailed(f"{said}. It wrote last:\n{wrote}" if wrote else f"{said}.")


def attach(simulator: Simulator, host: str, port: int) -> tuple[Peer, str]:
    """A server that runs already, and the token that WORKBENCH_TOKEN holds for it. Raises UserError."""
    token = os.environ.get(TOKEN)
    if not token:
        raise UserError(f"{simulator.server_variable} is set, but {TOKEN} is not: give the token the server was given.")
    try:
        line = socket.create_connection((host, port), timeout=STARTING)
    except OSError as error:
        raise UserError(f"No server of {simulator.world} answers at {host}:{port} ({error}).") from error
    return Peer(simulator, line, None, None), token


def start(simulator: Simulator) -> tuple[Peer, str]:
    """A process of the simulator's own Python, and the token that it was given. Raises UserError."""
    token, python, log = secrets.token_urlsafe(32), simulator.python(), tempfile.TemporaryFile()
    given = {name: value for name, value in os.environ.items() if name not in OURS} | {TOKEN: token}
    command = [python, str(SERVER), str(simulator.adapter)]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=given, start_new_session=True
        )
    except OSError as error:
        log.close()
        raise UserError(f"{simulator.python_variable} names {python}, which does not start: {error}.") from error
    try:
        host, port = _address(process)
        return Peer(simulator, socket.create_connection((host, port), timeout=STARTING), process, log), token
    except (OSError, ValueError) as error:
        how, wrote = _how(process), _tail(log)
        _end(process, 0.0)
        log.close()
        raise UserError(
            f"{python} ({simulator.python_variable}) did not serve {simulator.world}{how}. {wrote}"
        ) from error


def _address(process: subprocess.Popen) -> tuple[str, int]:
    """Where the server says that it listens. Raises ValueError where it says nothing of the kind in time."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], STARTING)
    said = process.stdout.readline(200).decode(errors="replace") if ready else ""
    host, _, port = said.strip().rpartition(" ")[2].partition(":")
    if not said.startswith("listening at "):
        raise ValueError(said)
    return host, int(port)


def _how(process: subprocess.Popen | None) -> str:
    """How a process ended, if it did so just now."""
    if process is None:
        return ""
    try:
        code = process.wait(1)
    except subprocess.TimeoutExpired:
        return ""
    return f" (killed by {signal.Signals(-code).name})" if code < 0 else f" (exit code {code})"


def _end(process: subprocess.Popen, patience: float) -> None:
    """The process and its children end: by themselves within `patience` seconds, or they are killed."""
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _tail(log: IO | None) -> str:
    """Read without a seek: the simulator's place in the file is ours too."""
    if log is None or log.closed:
        return ""
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), TAIL, max(0, size - TAIL)).decode(errors="replace").strip()


def _last(said: str) -> str:
    return said.strip().splitlines()[-1]
