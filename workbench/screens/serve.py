"""What a person sees of a policy that others' simulators ask: where it is, who may ask, and how much is asked."""

import asyncio
import errno
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import UserError
from workbench.screens.console import console
from workbench.serving.door import Door

if TYPE_CHECKING:
    from workbench.serving.policy import ServedPolicy
    from workbench.serving.tally import Tally


def serve_policy(policy: str, root: Path, device: str, door: Door) -> None:
    """Answer requests until the person has enough. Raises UserError where that cannot begin."""
    for package in ("websockets", "msgpack"):
        if find_spec(package) is None:
            raise UserError(f"A policy is served with {package}: pip install 'vla-workbench[serve]'")
    from workbench.serving.opened import open_policy
    from workbench.serving.tally import Tally

    with console.status(f"Loading {policy}"):
        served = open_policy(policy, root, device=device)
    try:
        asyncio.run(
            _serve(
                served,
                door,
                Tally(lambda line: console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)),
            )
        )
    except KeyboardInterrupt:
        console.print("Stopped.")
    except OSError as error:
        raise _taken(error, door) from error
    finally:
        served.close()


async def _serve(policy: "ServedPolicy", door: Door, tally: "Tally") -> None:
    from workbench.serving.server import CLIENTS, port_of, serving

    async with serving(policy, door, tally) as server:
        host = f"[{door.host}]" if ":" in door.host else door.host
        console.print(f"{policy.name}: chunks of {policy.chunk} actions of {policy.dimensions} numbers", markup=False)
        for path, client in CLIENTS.items():
            keys = client.read_at(door)
            read = ", ".join((keys.image, keys.prompt, *([keys.state] if policy.state else [])))
            address = f"ws://{host}:{port_of(server)}{path}"
            console.print(f"{client.name:<9} {address}  reads {read}", markup=False, soft_wrap=True)
        asked = "no token: this machine only" if door.token is None else "a token is asked for"
        console.print(f"{asked}; Ctrl-C stops", markup=False)
        with console.status("") as status:
            while True:
                refused = f", {tally.refused} refused" if tally.refused else ""
                status.update(f"{tally.connected} connected, {tally.a_minute()} requests a minute{refused}")
                await asyncio.sleep(1)


def _taken(error: OSError, door: Door) -> UserError:
    match error:
        case socket.gaierror():
            return UserError(f"No machine is called {door.host!r}: give an address of this one with --host.")
        case OSError(errno=errno.EADDRINUSE):
            return UserError(f"Port {door.port} is taken: give another with --port, or 0 for a free one.")
        case OSError(errno=errno.EADDRNOTAVAIL):
            return UserError(f"{door.host} is no address of this machine: serve at 127.0.0.1, or at one of its own.")
        case _:
            return UserError(f"{door.host}:{door.port} cannot be served: {error.strerror or error}.")
