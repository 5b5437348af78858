"""A real server in a thread, and the two clients' wire formats in a few lines that share nothing with the server's."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
from websockets.sync.client import ClientConnection, connect

from workbench.serving.door import Door
from workbench.serving.policy import ServedPolicy
from workbench.serving.server import port_of, serving
from workbench.serving.tally import Tally


@dataclass
class Running:
    """Where the server is, and what it told its person."""

    port: int
    tally: Tally
    lines: list[str] = field(default_factory=list)

    def connect(self, path: str = "/", **options: Any) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.port}{path}", compression=None, max_size=None, **options)


@contextmanager
def running(policy: ServedPolicy, door: Door) -> Iterator[Running]:
    started, stop, found = threading.Event(), asyncio.Event(), []
    loop = asyncio.new_event_loop()

    async def until_stopped() -> None:
        lines: list[str] = []
        tally = Tally(lines.append)
        async with serving(policy, door, tally) as server:
            found.append(Running(port_of(server), tally, lines))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(until_stopped(),))
    thread.start()
    assert started.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()
        loop.close()


def packed(message: Any) -> bytes:
    data = msgpack.packb(message)
    assert isinstance(data, bytes)
    return data


def openpi_array(array: np.ndarray) -> dict[bytes, Any]:
    return {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": array.shape}


def openpi_write(observation: dict[str, Any]) -> bytes:
    return packed({k: openpi_array(v) if isinstance(v, np.ndarray) else v for k, v in observation.items()})


def openpi_read(data: str | bytes) -> dict[str, Any]:
    assert isinstance(data, bytes), data
    found = msgpack.unpackb(data)
    if (sent := found.get("actions")) is not None:
        found["actions"] = np.ndarray(buffer=sent[b"data"], dtype=np.dtype(sent[b"dtype"]), shape=sent[b"shape"])
    return found


def vla_write(kind: Any, payload: Any, seq: Any = 1) -> bytes:
    return packed({"type": kind, "payload": payload, "seq": seq, "timestamp": 1.5})


def vla_read(data: str | bytes) -> dict[str, Any]:
    assert isinstance(data, bytes), data
    found = msgpack.unpackb(data)
    assert set(found) == {"type", "payload", "seq", "timestamp"}
    if found["type"] == "action":
        sent = found["payload"]["actions"]
        assert sent["__ndarray__"] is True
        found["payload"]["actions"] = np.frombuffer(sent["data"], sent["dtype"]).reshape(sent["shape"])
    return found


def vla_image(format: str, data: bytes | None, shape: Any) -> dict[str, Any]:
    """A picture as vla-eval sends it: a PNG or JPEG file, its shape beside it."""
    return {"__image__": True, "format": format, "data": data, "shape": shape}
