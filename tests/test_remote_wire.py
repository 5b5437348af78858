"""Arrays go over the line bit for bit, and what is not a message is refused in a sentence, whichever end reads it."""

import ast
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from remote import SECRET, TINY, server

from workbench.benchmarks.contract import Protocol
from workbench.benchmarks.remote import wire
from workbench.benchmarks.remote.client import RemoteEnv
from workbench.benchmarks.remote.peer import TOKEN
from workbench.benchmarks.remote.wire import DTYPES, PREFIX, Gone, Late, Message, Refused, packed, receive, send
from workbench.errors import RunFailed

FOLDER = Path(wire.__file__).parent


def frame(header: object, body: bytes = b"", *, claimed: int | None = None, version: int = wire.VERSION) -> bytes:
    said = header if isinstance(header, bytes) else json.dumps(header).encode()
    return PREFIX.pack(wire.MAGIC, version, len(said), len(body) if claimed is None else claimed) + said + body


def holding(described: object, body: bytes = b"\0" * 8) -> bytes:
    return frame({"kind": "hello", "fields": {}, "arrays": {"one": described}}, body)


def numbers(dtype: object = "<f4", shape: object = (2,), offset: object = 0) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "offset": offset}


MALFORMED: dict[str, tuple[bytes, str]] = {
    "another protocol": (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", "does not speak this protocol"),
    "another version": (frame({}, version=2), "speaks version 2 of this protocol, this one 1"),
    "a prefix cut off": (PREFIX.pack(wire.MAGIC, 1, 2, 0)[:9], "cut off after 9 of 20 bytes"),
    "a header cut off": (PREFIX.pack(wire.MAGIC, 1, 99, 0) + b"{}", "cut off after 2 of 99 bytes"),
    "a body cut off": (frame({"kind": "k", "fields": {}, "arrays": {}}, b"ab", claimed=7), "cut off after 2 of 7"),
    "an endless header": (PREFIX.pack(wire.MAGIC, 1, 2**32 - 1, 0), "4,294,967,295 bytes; at most"),
    "an endless body": (PREFIX.pack(wire.MAGIC, 1, 2, 2**63), "9,223,372,036,854,775,808 bytes; at most"),
    "no JSON": (frame(b"{]"), "not JSON"),
    "no text": (frame(b"\xff\xfe\x00"), "not JSON"),
    "NaN": (frame(b'{"kind": "k", "fields": {"x": NaN}, "arrays": {}}'), "NaN is no number"),
    "infinity": (frame(b'{"kind": "k", "fields": {"x": 1e999}, "arrays": {}}'), "1e999 is too large"),
    "a key twice": (frame(b'{"kind": "k", "kind": "l", "fields": {}, "arrays": {}}'), "a key stands there twice"),
    "a nest": (frame(b"[" * 100_000), "not JSON"),
    "a list": (frame([1, 2]), "has to be a map of kind, fields and arrays"),
    "no kind": (frame({"fields": {}, "arrays": {}}), "has to be a map of kind, fields and arrays"),
    "a kind that is a number": (frame({"kind": 1, "fields": {}, "arrays": {}}), "kind has to be a text"),
    "objects": (holding(numbers("|O")), "of dtype '|O'"),
    "a structure": (holding(numbers([["a", "<f4"]])), "of dtype"),
    "texts": (holding(numbers("<U2")), "of dtype '<U2'"),
    "bytes the other way round": (holding(numbers(">f4")), "of dtype '>f4'"),
    "a negative size": (holding(numbers(shape=(-1,))), "expected at most 6 sizes"),
    "a size that is true": (holding(numbers(shape=(True, 2))), "expected at most 6 sizes"),
    "seven dimensions": (holding(numbers(shape=(1,) * 7)), "expected at most 6 sizes"),
    "more than there is": (holding(numbers(shape=(3,))), "does not lie where it has to"),
    "more than anyone has": (holding(numbers(shape=(2**62, 2**62))), "does not lie where it has to"),
    "an impossible shape": (holding(numbers(shape=(0, 2**62, 2**62)), b""), "which cannot be"),
    "an array elsewhere": (holding(numbers(offset=4)), "does not lie where it has to"),
    "bytes of no array": (holding(numbers(shape=(1,))), "The body has 8 bytes, its arrays 4"),
    "no description": (holding("<f4"), "has to be described by dtype, shape and offset"),
    "many arrays": (
        frame({"kind": "k", "fields": {}, "arrays": {str(i): numbers(shape=(0,)) for i in range(17)}}),
        "17 arrays; at most 16",
    ),
}


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_of_number_arrives_bit_for_bit(pair, dtype: str):
    random = np.random.default_rng(0)
    bits = random.integers(0, 2 if dtype == "|b1" else 256, (2, 3, 5, np.dtype(dtype).itemsize), np.uint8)
    array = bits.view(dtype)[..., 0]
    sent = Message("k", {"said": "größer"}, {"one": array, "turned": array.T, "none": array[:0], "two": array[1]})
    send(pair[0], sent)
    got = receive(pair[1])
    assert (got.kind, got.fields, list(got.arrays)) == ("k", {"said": "größer"}, ["one", "turned", "none", "two"])
    for name, array in sent.arrays.items():
        assert got.arrays[name].dtype == array.dtype and got.arrays[name].shape == array.shape
        assert got.arrays[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_not_a_message_is_refused_in_a_sentence(pair, name: str):
    data, sentence = MALFORMED[name]
    pair[0].sendall(data)
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(Refused, match=re.escape(sentence)):
        receive(pair[1])


@pytest.mark.parametrize(
    "message",
    [
        Message("k", {}, {"one": np.array([object()])}),
        Message("k", {}, {"one": np.array(["a"])}),
        Message("k", {"x": float("nan")}),
        Message("k", {"x": {1, 2}}),
        Message("k", {"x": "a" * wire.LARGEST_HEADER}),
    ],
)
def test_what_cannot_be_said_is_not_sent(message: Message):
    with pytest.raises(Refused):
        packed(message)


def test_a_closed_line_and_a_silent_one_are_told_apart(pair):
    with pytest.raises(Late):
        receive(pair[1], time.monotonic() + 0.05)
    pair[0].sendall(frame({})[:7])  # a byte now and then does not extend the time
    with pytest.raises(Late):
        receive(pair[1], time.monotonic() + 0.05)
    pair[0].close()
    with pytest.raises(Gone):
        receive(pair[1])


def test_a_server_refuses_each_of_them_and_stays():
    greeting = b"".join(bytes(part) for part in packed(Message("hello", {"token": SECRET})))
    with server() as port:
        for name, (data, sentence) in MALFORMED.items():
            with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
                line.sendall(data)
                line.shutdown(socket.SHUT_WR)
                answer = receive(line, time.monotonic() + 10)
                assert answer.kind == "error" and answer.fields["reason"] == "refused", name
                expected = "at most 65,536" if name == "an endless body" else sentence
                assert expected in answer.fields["message"], (name, answer.fields)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            line.sendall(greeting)
            assert "does not say what it has to" in receive(line, time.monotonic() + 10).fields["message"]


@pytest.mark.parametrize("name", MALFORMED)
def test_the_workbench_refuses_each_of_them(name: str, monkeypatch: pytest.MonkeyPatch):
    data, sentence = MALFORMED[name]
    with fake(lambda line: line.sendall(data)) as port:
        monkeypatch.setenv(TOKEN, SECRET)
        monkeypatch.setenv(TINY.server_variable, f"127.0.0.1:{port}")
        with pytest.raises(RunFailed, match=f"no proper answer to 'hello': .*{re.escape(sentence)}"):
            RemoteEnv(Protocol(), 1, TINY)


class fake:
    """A server that answers one greeting as it likes."""

    def __init__(self, answer: Callable[[socket.socket], object]):
        self.door, self.answer = socket.create_server(("127.0.0.1", 0)), answer
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        line, _ = self.door.accept()
        with line:
            receive(line, time.monotonic() + 10)
            self.answer(line)
            with suppress(ConnectionError):  # a line that is closed on unread bytes would take the answer with it
                line.shutdown(socket.SHUT_WR)
                while line.recv(4096):
                    pass

    def __enter__(self) -> int:
        self.thread.start()
        return self.door.getsockname()[1]

    def __exit__(self, *_: object) -> None:
        self.thread.join(10)
        self.door.close()


STANDALONE = sorted([FOLDER / "wire.py", FOLDER / "server.py", *FOLDER.glob("sim_*.py"), *FOLDER.glob("*_expert.py")])


@pytest.mark.parametrize("path", STANDALONE, ids=lambda path: path.stem)
def test_what_runs_in_a_simulators_python_is_python_3_8_and_needs_numpy_alone(path: Path):
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    standard = set(
        (
            "__future__ collections collections.abc concurrent.futures dataclasses fcntl functools hashlib hmac "
            "importlib importlib.util itertools json math multiprocessing os pathlib re signal socket struct sys "
            "threading time traceback typing "
        ).split()
    )
    assert modules <= standard | {"numpy", "wire"}
    assert "pickle" not in path.read_text().replace("never pickle", "").replace("pickle is never", "")
