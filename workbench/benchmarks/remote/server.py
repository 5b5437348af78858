"""The simulator's end of the line: rows of one benchmark, played for a workbench in another Python.

    PYTHON workbench/benchmarks/remote/server.py ADAPTER.py

It needs Python 3.8, NumPy, `wire.py` beside it and what the adapter imports; the workbench need not be installed. It
listens on 127.0.0.1 alone, says where in one line on stdout, and answers one workbench, which has to know the token in
the environment variable WORKBENCH_TOKEN, one request at a time. It ends with that workbench. With `--stay` it is a
person's: it answers one workbench after the other until it is ended.

An adapter is a file with one class:

    class Simulator:
        PLAYS = {"calvin-abc-d": "0123456789ab"}    # benchmarks, and the digest of the rules that this was written for
        def __init__(self, rules, count, camera, render)    # rules: the benchmark's, a dict; rows 0 … count-1
        def place(self, row, start) -> str                  # begins an episode, settling included; its instruction
        def move(self, row, action) -> (success, reached, lost, instruction)
        def look(self, row) -> (pixels uint8 [H, W, 3], state [S])
        def first_frame(self, start) -> pixels              # no row is touched
        def sentence(self, start) -> str                    # no row is touched
        def expert_action(self, row) -> action              # only where the rules say that there is an expert
        def close(self)

`start` is a dict of task, initial_state and seed. `reached` is the share of the episode's stages that hold, 0 … 1.
"""

from __future__ import annotations

import hmac
import importlib.util
import os
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from wire import Gone, Late, Message, Refused, receive, send

TOKEN = "WORKBENCH_TOKEN"
SHORTEST_TOKEN = 16
GREETING = 2**16
"""Bytes of body that are read of someone who has not said the token yet, and seconds that he is waited for."""
PATIENCE = 10.0
LISTENING = 1.0
"""Seconds in which someone who is refused may go on talking."""


class Table:
    """The adapter's rows, with what the workbench wants to know of each: `age`, `best`, `lost` and the instruction."""

    def __init__(self, simulator: Any, told: dict[str, Any]):
        self.simulator, count = simulator, told["count"]
        self.shape, self.states = (told["height"], told["width"], 3), len(told["rules"]["state"])
        self.placed, self.instructions = [False] * count, [""] * count
        self.age, self.best, self.lost = np.zeros(count, np.int64), np.zeros(count), np.zeros(count, bool)

    def answer(self, asked: Message) -> Message:
        """What is asked for. Raises Refused for what cannot be asked; the simulator's own errors pass."""
        if asked.kind not in ASKED:
            raise Refused(f"There is no request {asked.kind[:40]!r}; there are {', '.join(ASKED)}.")
        return getattr(self, asked.kind)(asked)

    def begin(self, asked: Message) -> Message:
        """Fields rows and starts, one each. The rows' age, best, lost and instructions come back."""
        rows = asked.fields.get("rows")
        starts = asked.fields.get("starts")
        if not isinstance(rows, list) or not isinstance(starts, list) or len(rows) != len(starts):
            raise Refused("begin needs rows and as many starts.")
        for row, start in zip(rows, starts):  # noqa: B905 (Python 3.8 has no strict)
            self._row(row, placed=False)
            self.age[row], self.best[row], self.lost[row] = 0, 0.0, False
            self.instructions[row] = _text(self.simulator.place(row, _start(start)))
            self.placed[row] = True
        return self._told("begin", rows, {})

    def advance(self, asked: Message) -> Message:
        """Arrays rows [k] and actions [k, A]. Array success [k] comes back, and what begin gives."""
        rows, actions = asked.arrays.get("rows"), asked.arrays.get("actions")
        if rows is None or actions is None or rows.ndim != 1 or actions.ndim != 2 or len(rows) != len(actions):
            raise Refused("advance needs rows [k] and actions [k, A].")
        known = [self._row(int(row)) for row in rows]
        success = np.zeros(len(known), bool)
        for place, row in enumerate(known):
            success[place], reached, self.lost[row], said = self.simulator.move(row, actions[place])
            self.best[row] = max(self.best[row], reached)
            self.age[row] += 1
            self.instructions[row] = _text(said)
        return self._told("advance", known, {"success": success})

    def observe(self, asked: Message) -> Message:
        """Arrays rows [k], pixels [k, H, W, 3] and state [k, S] of the rows that are played."""
        rows = [row for row, placed in enumerate(self.placed) if placed]
        pixels = np.zeros((len(rows), *self.shape), np.uint8)
        state = np.zeros((len(rows), self.states), np.float32)
        for place, row in enumerate(rows):
            picture, numbers = self.simulator.look(row)
            pixels[place], state[place] = self._picture(picture), numbers
        return Message("observe", {}, {"rows": np.array(rows, np.int64), "pixels": pixels, "state": state})

    def leave(self, asked: Message) -> Message:
        row = self._row(asked.fields.get("row"))
        self.placed[row], self.instructions[row] = False, ""
        return Message("leave")

    def first_frame(self, asked: Message) -> Message:
        pixels = self._picture(self.simulator.first_frame(_start(asked.fields.get("start"))))
        return Message("first_frame", {}, {"pixels": pixels})

    def sentence(self, asked: Message) -> Message:
        return Message("sentence", {"sentence": _text(self.simulator.sentence(_start(asked.fields.get("start"))))})

    def expert_action(self, asked: Message) -> Message:
        action = np.asarray(self.simulator.expert_action(self._row(asked.fields.get("row"))))
        return Message("expert_action", {}, {"action": action})

    def _row(self, row: Any, *, placed: bool = True) -> int:
        if type(row) is not int or not 0 <= row < len(self.placed):
            raise Refused(f"There is no row {str(row)[:40]}; there are {len(self.placed)}.")
        if placed and not self.placed[row]:
            raise Refused(f"No episode has begun in row {row}.")
        return row

    def _picture(self, pixels: Any) -> np.ndarray:
        found = np.asarray(pixels)
        if found.shape != self.shape or found.dtype != np.uint8:
            raise ValueError(f"the picture is {found.dtype} {found.shape}, it has to be uint8 {self.shape}")
        return found

    def _told(self, kind: str, rows: list[int], arrays: dict[str, np.ndarray]) -> Message:
        known = {"age": self.age[rows], "best": self.best[rows], "lost": self.lost[rows]}
        known.update(arrays)
        return Message(kind, {"instructions": [self.instructions[row] for row in rows]}, known)


ASKED = ("begin", "advance", "observe", "leave", "first_frame", "sentence", "expert_action")


def _text(said: Any) -> str:
    if not isinstance(said, str):
        raise TypeError(f"an instruction has to be a text, this is {type(said).__name__}")
    return said


def _start(start: Any) -> dict[str, Any]:
    if not isinstance(start, dict) or set(start) != {"task", "initial_state", "seed"}:
        raise Refused("A start is a map of task, initial_state and seed.")
    return start


def load(adapter: Path) -> Any:
    """The adapter's class."""
    spec = importlib.util.spec_from_file_location(adapter.stem, adapter)
    if spec is None or spec.loader is None:
        raise ImportError(f"{adapter} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Simulator


def opened(greeting: Message, adapter: Path) -> Table:
    """The rows that a workbench asks for. Raises Refused where it goes by other rules than the adapter."""
    told = greeting.fields
    if set(told) != {"token", "benchmark", "digest", "rules", "count", "width", "height", "camera", "render"}:
        raise Refused("The greeting does not say what it has to.")
    made = load(adapter)
    if made.PLAYS.get(told["benchmark"]) != told["digest"]:
        plays = ", ".join(f"{name} by the rules {digest}" for name, digest in made.PLAYS.items())
        raise Refused(
            f"{adapter.name} plays {plays}; the workbench asks for {told['benchmark']} by the rules {told['digest']}. "
            "Use the adapter that came with this workbench."
        )
    return Table(made(told["rules"], told["count"], told["camera"], told["render"]), told)


def serve(line: socket.socket, token: str, adapter: Path) -> bool:
    """Answer one workbench until it goes; False for someone who did not know the token."""
    table, known = None, False
    try:
        greeting = receive(line, time.monotonic() + PATIENCE, GREETING)
        if not hmac.compare_digest(str(greeting.fields.get("token")).encode(), token.encode()):
            send(line, Message("error", {"reason": "refused", "message": f"This is not the token in {TOKEN}."}))
            return False
        known = True
        table = opened(greeting, adapter)
        send(line, Message("hello", {"python": sys.version.split()[0], "numpy": np.__version__}))
        while True:
            send(line, table.answer(receive(line)))
    except (Gone, Late):
        pass  # nobody is there to be told
    except Refused as refusal:
        _complain(line, "refused", str(refusal))
    except Exception as error:  # whatever the simulator raises is told to the workbench, which ends the run
        traceback.print_exc()
        _complain(line, "missing" if isinstance(error, ImportError) else "failed", traceback.format_exc()[-4000:])
    finally:
        if table is not None:
            table.simulator.close()
    return known


def _complain(line: socket.socket, reason: str, message: str) -> None:
    """What is still to be read is read for a moment: a line that is closed on it takes the message with it."""
    try:
        send(line, Message("error", {"reason": reason, "message": message}), time.monotonic() + PATIENCE)
        line.shutdown(socket.SHUT_WR)
        until = time.monotonic() + LISTENING
        while (left := until - time.monotonic()) > 0:
            line.settimeout(left)
            if not line.recv(65536):
                return
    except (Gone, Late, OSError):
        pass  # nobody is there to hear it


def end_with(stdin: int) -> None:
    """End this process, and its children, when the workbench, which holds the other end of `stdin`, has gone."""

    def watch() -> None:
        while os.read(stdin, 4096):
            pass
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def main(adapter: str, stay: bool) -> int:
    token = os.environ.pop(TOKEN, "")
    if len(token) < SHORTEST_TOKEN:
        print(f"error: {TOKEN} has to hold a token of at least {SHORTEST_TOKEN} characters.", file=sys.stderr)
        return 2
    said, asked = os.dup(1), os.dup(0)  # a simulator prints and asks what it likes, nobody reads it and nobody answers
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if not stay:
        end_with(asked)
    with socket.create_server(("127.0.0.1", 0)) as door:
        os.write(said, f"listening at 127.0.0.1:{door.getsockname()[1]}\n".encode())
        os.close(said)
        while True:
            line, _ = door.accept()
            with line:
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                known = serve(line, token, Path(adapter).resolve())
            if known and not stay:
                return 0


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "--stay"]
    if len(given) != 1:
        sys.exit("usage: server.py ADAPTER.py [--stay]")
    sys.exit(main(given[0], "--stay" in sys.argv))
