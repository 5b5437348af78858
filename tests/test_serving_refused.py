"""Whatever a stranger sends is refused by name, and the next client is answered as if nothing had happened."""

import pickle
import random
import socket
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import msgpack
import numpy as np
import pytest
import torch
from PIL import Image
from processes import until
from served import Running, openpi_array, openpi_read, openpi_write, packed, running, vla_image, vla_read, vla_write
from websockets.exceptions import ConnectionClosed

from workbench.build import build
from workbench.compute import place
from workbench.data.statistics import Statistics
from workbench.evaluate import Player
from workbench.plan import Compute
from workbench.serving.door import Door
from workbench.serving.messages import ENTRIES, LARGEST, unpacked
from workbench.serving.policy import ServedPolicy
from workbench.serving.refusal import Refused
from workbench.spec import Spec
from workbench.training.imitate import ActionScale

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
GOOD = {"observation/image": PICTURE, "prompt": "reach the red block"}
ARRAY = openpi_array(PICTURE)
CANARY = []
"""Somebody's code ran where this is not empty."""


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return CANARY.append, ("run",)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPolicy]:
    """The embedded model with a new head."""
    model, backbone = build(Spec(), 0, chunk=2, root=tmp_path_factory.mktemp("none"))
    action = np.random.default_rng(0).uniform(-1, 1, (50, 7))
    scale = ActionScale(Statistics.from_values(action))
    served = ServedPolicy(
        Player(model, backbone, scale, np.full(3, 128, np.uint8), place(Compute(device="cpu"))), "embedded", executed=1
    )
    yield served
    served.close()


@pytest.fixture(scope="module")
def server(policy: ServedPolicy) -> Iterator[Running]:
    with running(policy, Door(port=0)) as found:
        yield found


@pytest.fixture(scope="module")
def undisturbed(server: Running) -> np.ndarray:
    return answered(server)


def answered(server: Running) -> np.ndarray:
    with server.connect() as client:
        client.recv()
        client.send(openpi_write(GOOD))
        return openpi_read(client.recv())["actions"]


def image(**changed: Any) -> bytes:
    """The good observation, its array's fields changed."""
    return packed({**GOOD, "observation/image": {**ARRAY, **{k.encode(): v for k, v in changed.items()}}})


def within(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


MESSAGES: dict[str, tuple[bytes | str, str]] = {
    "nothing": (b"", "not whole, valid msgpack"),
    "a text": ('{"prompt": "reach"}', "Expected a binary msgpack message, got text"),
    "noise": (b"\xc1" * 50, "not whole, valid msgpack"),
    "half a message": (openpi_write(GOOD)[:1000], "not whole, valid msgpack"),
    "a message and a half": (openpi_write(GOOD) * 2, "not whole, valid msgpack"),
    "no map": (packed([1, 2]), "Expected a map of keys, got list"),
    "only an array": (packed(ARRAY), "Expected a map of keys, got dict"),
    "a list that says it is endless": (b"\xdd\xff\xff\xff\xff", "not whole, valid msgpack"),
    "a text that says it is endless": (b"\x81\xdb\xff\xff\xff\xff", "not whole, valid msgpack"),
    "deep": (packed(within(20)), "'a/a' is nested more than 8 deep"),
    "very deep": (b"\x91" * 100_000, "not whole, valid msgpack"),
    "many empty maps": (b"\xdd" + struct.pack(">I", ENTRIES) + b"\x80" * ENTRIES, "more than 50,000 entries"),
    "a number for a key": (packed({1: 2}), "not whole, valid msgpack"),
    "bytes for a key": (packed({b"x": 2}), "has the key b'x'"),
    "no UTF-8": (b"\x81\xa6prompt\xa2\xff\xfe", "not whole, valid msgpack"),
    "an extension type": (
        b"\x81\xa6prompt\xc7\x00\x05",
        "'prompt' is of a msgpack extension type",
    ),
    "an extension type with data": (packed({"prompt": msgpack.Timestamp(1)}), "max_ext_len"),
    "a pickle as array": (image(dtype="|O", data=pickle.dumps([Malicious()])), "is an array of dtype '|O'"),
    "a pickle as message": (pickle.dumps(Malicious()), "not whole, valid msgpack"),
    "a structure": (image(dtype="i4,O"), "'observation/image' is an array of dtype 'i4,O'"),
    "a dtype of texts": (packed({"prompt": {**ARRAY, b"dtype": "<U1"}}), "'prompt' is an array of dtype '<U1'"),
    "a dtype that is no text": (image(dtype=["<f4"]), "is an array of dtype ['<f4']"),
    "too few bytes": (image(data=b"123"), "with 3 bytes of data; expected 4,608 bytes"),
    "no data": (image(data=None), "with NoneType of data"),
    "a negative size": (image(shape=[-1, 48, 3]), "is an array of shape [-1, 48, 3]"),
    "a size that overflows": (image(shape=[2**62, 4, 3]), "with 4,608 bytes of data; expected"),
    "no such array": (image(shape=[2**63 - 1, 2**63 - 1, 0], data=b""), "which cannot be"),
    "sizes without end": (image(shape=[1] * 40), "expected at most 8 sizes"),
    "a size that is true": (image(shape=[True, 48, 96]), "is an array of shape"),
    "a scalar that is a map": (packed({"prompt": {b"__npgeneric__": True, b"data": {}}}), "is a scalar of dict"),
    "no picture": (openpi_write({"prompt": "reach"}), "no 'observation/image', it has 'prompt': name another key"),
    "no instruction": (openpi_write({"observation/image": PICTURE}), "The observation has no 'prompt'"),
    "an empty instruction": (openpi_write({**GOOD, "prompt": " "}), "'prompt' is a text of 1 characters; expected"),
    "a number as instruction": (openpi_write({**GOOD, "prompt": 3}), "'prompt' is of type int; expected a text"),
    "an endless instruction": (openpi_write({**GOOD, "prompt": "a" * 5000}), "'prompt' is a text of 5000 characters"),
    "a text as picture": (openpi_write({**GOOD, "observation/image": "x"}), "'observation/image' is of type str"),
    "a picture in floats": (
        openpi_write({**GOOD, "observation/image": PICTURE / 255}),
        "'observation/image' is float64 [32, 48, 3]; expected uint8 [height, width, 3]",
    ),
    "a picture of NaN": (
        openpi_write({**GOOD, "observation/image": np.full((8, 8, 3), np.nan, np.float32)}),
        "'observation/image' is float32 [8, 8, 3] with values that are not finite; expected uint8",
    ),
    "channels first": (
        openpi_write({**GOOD, "observation/image": PICTURE.transpose(2, 0, 1).copy()}),
        "'observation/image' is uint8 [3, 32, 48]; expected uint8 [height, width, 3]",
    ),
    "no pixels": (openpi_write({**GOOD, "observation/image": np.zeros((0, 9, 3), np.uint8)}), "is uint8 [0, 9, 3]"),
    "a line of pixels": (openpi_write({**GOOD, "observation/image": np.zeros((1, 9999, 3), np.uint8)}), "[1, 9999, 3]"),
    "a key for the terminal": (packed({"\x1b[2J": within(20)}), r"'\x1b[2J/a' is nested"),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_a_malformed_message_is_refused_and_the_server_lives_on(name: str, server: Running, undisturbed: np.ndarray):
    message, said = MESSAGES[name]
    with server.connect() as client:
        client.recv()
        client.send(message)
        refusal = client.recv(10)
        assert isinstance(refusal, str) and said in refusal
        assert "\x1b" not in refusal and len(refusal) < 700
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(10)
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1011
    assert np.array_equal(answered(server), undisturbed) and CANARY == []


def png(width: int, height: int, pixels: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def gif() -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, "GIF")
    return file.getvalue()


PICTURES: dict[str, tuple[Any, str]] = {
    "a bomb": (vla_image("png", png(60_000, 60_000, zlib.compress(bytes(10_000))), [60_000, 60_000, 3]), "no png that"),
    "a smaller bomb": (vla_image("png", png(9000, 9000, b""), [9000, 9000, 3]), "9000 × 9000"),
    "another size than said": (vla_image("png", png(8, 9, b""), [8, 8, 3]), "9 × 8, said to have the shape [8, 8, 3]"),
    "no pixels in it": (vla_image("png", png(8, 8, b"xx"), [8, 8, 3]), "is no png that can be read"),
    "half a file": (vla_image("jpeg", b"\xff\xd8\xff\xe0", [8, 8, 3]), "is no jpeg that can be read"),
    "another format than said": (vla_image("png", gif(), [8, 8, 3]), "is no png that can be read"),
    "another format": (vla_image("gif", gif(), [8, 8, 3]), "of format 'gif' with data of type bytes; expected raw"),
    "no file": (vla_image("png", None, [8, 8, 3]), "data of type NoneType"),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_a_damaged_picture_is_refused_by_its_key(name: str, server: Running):
    sent, said = PICTURES[name]
    with server.connect("/vla-eval") as client:
        client.send(vla_write("observation", {"images": {"front": sent}, "task_description": "reach"}, 7))
        reply = vla_read(client.recv(10))
        assert (reply["type"], reply["seq"]) == ("error", 7)
        assert said in reply["payload"]["error"] and "images/front" in reply["payload"]["error"]


def test_a_vla_eval_client_goes_on_after_what_was_refused(server: Running, undisturbed: np.ndarray):
    cameras = {"front": {"__ndarray__": True, "data": PICTURE.tobytes(), "dtype": "|u1", "shape": list(PICTURE.shape)}}
    good = {"images": cameras, "task_description": GOOD["prompt"]}
    with server.connect("/vla-eval") as client:
        for message, seq, said in (
            (b"\xc1", 0, "not whole, valid msgpack"),
            (vla_write("dance", {}, 3), 3, "'type' is 'dance'; expected one of hello, observation"),
            (vla_write(["observation"], {}, 3), 3, "'type' is ['observation']"),
            (vla_write("observation", [], 4), 4, "'payload' is of type list"),
            (vla_write("observation", good, -1), -1, "'seq' is -1; expected a count"),
            (vla_write("observation", good, float("nan")), 0, "'seq' is nan"),
            (vla_write("hello", {"protocol_version": 9}, 5), 5, "'protocol_version' is 9; expected 1"),
            (vla_write("observation", {"images": {}, "task_description": "x"}, 6), 6, "holds 0 pictures"),
        ):
            client.send(message)
            reply = vla_read(client.recv(10))
            assert (reply["type"], reply["seq"]) == ("error", seq) and said in reply["payload"]["error"]
        client.send(vla_write("observation", good, 8))
        assert np.array_equal(vla_read(client.recv())["payload"]["actions"], undisturbed[0])


def test_a_message_beyond_the_limit_closes_its_connection_alone(server: Running, undisturbed: np.ndarray):
    with server.connect() as other, server.connect() as client:
        other.recv()
        client.recv()
        with pytest.raises(ConnectionClosed) as caught:
            client.send(bytes(LARGEST + 1))
            client.recv(20)
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009
        other.send(openpi_write(GOOD))
        assert np.array_equal(openpi_read(other.recv())["actions"], undisturbed)
    assert until(lambda: any("refused: 1009" in line for line in server.lines))
    with pytest.raises(Refused, match="at most 33,554,432 are read"):
        unpacked(bytes(LARGEST + 1))


def test_clients_that_vanish_and_noise_on_the_port_are_no_error(server: Running, undisturbed: np.ndarray):
    refused = server.tally.refused
    for _ in range(3):
        with server.connect() as client:
            client.recv()
            client.send(openpi_write(GOOD))
            client.socket.shutdown(socket.SHUT_RDWR)  # in the middle of its request
    with server.connect() as client:
        client.close(1009, "a code that only a server has reason for")
    for noise in (
        b"\x16\x03\x01" * 50,
        b"GET / HTTP/1.1\r\n\r\n",
        b"",
        b"GET / HTTP/1.1\r\nAuthorization: \xff\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(noise)
    assert np.array_equal(answered(server), undisturbed)
    assert until(lambda: server.tally.connected == 0) and server.tally.refused == refused


def test_a_policy_that_fails_on_a_request_answers_the_next(
    policy: ServedPolicy, server: Running, undisturbed: np.ndarray
):
    head = policy._player.policy.head
    with torch.no_grad():
        kept = head.query_E.clone()
        head.query_E.fill_(float("nan"))
    with server.connect() as client:
        client.recv()
        client.send(openpi_write(GOOD))
        assert client.recv() == "The policy failed on this request (FloatingPointError); see the server's log."
    with torch.no_grad():
        head.query_E.copy_(kept)
    assert np.array_equal(answered(server), undisturbed)


def test_messages_with_random_faults_are_read_or_refused_and_nothing_else():
    draw, good = random.Random(0), openpi_write(GOOD)
    read = 0
    for _ in range(3000):
        spoiled = bytearray(good[:200] if draw.random() < 0.3 else good)
        for _ in range(draw.randint(1, 4)):
            spoiled[draw.randrange(min(len(spoiled), 150))] = draw.randrange(256)
        try:
            unpacked(bytes(spoiled))
            read += 1
        except Refused:
            pass
    assert 0 < read < 3000
