"""The server: two paths for two clients, a token where one is asked for, and no message that ends it."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from workbench.serving import openpi, vla_eval
from workbench.serving.door import Door
from workbench.serving.messages import LARGEST
from workbench.serving.observation import Keys
from workbench.serving.policy import ServedPolicy
from workbench.serving.tally import Tally

READY = ("/healthz", "/health")
"""Where the two clients' scripts ask whether a server is up."""
BROKEN = (CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.MESSAGE_TOO_BIG)
"""Why a connection is closed below the messages, with a reason for the client."""
handshakes = logging.getLogger(f"{__name__}.handshakes")
handshakes.setLevel(logging.CRITICAL)
"""A port that is scanned would fill the screen with tracebacks."""


@dataclass(frozen=True)
class Client:
    """A kind of client: the path that it connects to, the keys it uses, and how one talks with it."""

    name: str
    keys: Keys
    converse: Callable[[ServerConnection, ServedPolicy, Keys, Tally], Awaitable[None]]

    def read_at(self, door: Door) -> Keys:
        """The keys that are read: its own, or those of the door in their place."""
        own = self.keys
        return Keys(door.image_key or own.image, door.prompt_key or own.prompt, door.state_key or own.state)


CLIENTS = {
    openpi.PATH: Client("openpi", openpi.KEYS, openpi.converse),
    vla_eval.PATH: Client("vla-eval", vla_eval.KEYS, vla_eval.converse),
}


@asynccontextmanager
async def serving(policy: ServedPolicy, door: Door, tally: Tally) -> AsyncIterator[Server]:
    """A server that listens at the door as long as the block lasts.

    Requests with an Origin are refused: they come from a web page, which may be anyone's. Nothing is compressed and
    nobody is pinged, since both clients block while their simulator loads or steps. Raises OSError where the address
    cannot be had.
    """
    async with serve(
        partial(_talk, policy=policy, door=door, tally=tally),
        door.host,
        door.port,
        process_request=partial(_admit, door=door),
        origins=[None],
        compression=None,
        max_size=LARGEST,
        max_queue=2,
        ping_interval=None,
        logger=handshakes,
    ) as server:
        yield server


def port_of(server: Server) -> int:
    """The port that it listens at: a free one where the door said 0."""
    return next(iter(server.sockets)).getsockname()[1]


def _admit(connection: ServerConnection, request: Request, *, door: Door) -> Response | None:
    """None lets the request in; both paths are compared whole."""
    try:
        path = urlsplit(request.path).path
        opens = door.opens(request.path, request.headers.get_all("Authorization"))
    except ValueError:
        return connection.respond(HTTPStatus.BAD_REQUEST, "This address cannot be read.\n")
    if path in READY:
        return connection.respond(HTTPStatus.OK, "ready\n")
    if path not in CLIENTS:
        known = ", ".join(f"{place} for {client.name}" for place, client in CLIENTS.items())
        return connection.respond(HTTPStatus.NOT_FOUND, f"Nothing is served here; there is {known}.\n")
    if not opens:
        return connection.respond(HTTPStatus.UNAUTHORIZED, "The token is missing or wrong.\n")
    return None


async def _talk(connection: ServerConnection, *, policy: ServedPolicy, door: Door, tally: Tally) -> None:
    assert connection.request is not None
    client = CLIENTS[urlsplit(connection.request.path).path]
    keys = client.read_at(door)
    peer = connection.remote_address  # None where it has gone again already
    name = f"{client.name} client {peer[0]}:{peer[1]}" if peer else f"{client.name} client"
    tally.came(name)
    try:
        await client.converse(connection, policy, keys, tally)
    except ConnectionClosed as error:  # a client that vanishes is no error
        if error.sent is not None and error.sent.code in BROKEN and not error.rcvd_then_sent:
            tally.refuse(f"{error.sent.code} {error.sent.reason}")
    finally:
        tally.left(name)
