"""What the vla-eval harness expects of a model server (allenai/vla-evaluation-harness 0.8, protocol version 1).

Every message is a map of `type`, `payload`, `seq` and `timestamp`. The client says hello and is answered; it tells
where an episode starts and ends, which nobody answers; each of its observations is answered by one action `[A]` with
the same `seq`. So the chunk is kept here and the policy is asked again when it has been played. An error is a message
as well, and the connection stays open.
"""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection

from workbench.serving.messages import packed, unpacked
from workbench.serving.observation import Keys
from workbench.serving.policy import ServedPolicy
from workbench.serving.refusal import Refused, shown
from workbench.serving.tally import Tally

PATH = "/vla-eval"
KEYS = Keys(image="images", prompt="task_description", state="states")
VERSION = 1
TYPES = ("hello", "observation", "episode_start", "episode_end", "error")


@dataclass(frozen=True)
class Message:
    type: str
    payload: dict[str, Any]
    seq: int


async def converse(connection: ServerConnection, policy: ServedPolicy, keys: Keys, tally: Tally) -> None:
    session = Session(policy, keys)
    async for data in connection:
        seq = 0
        try:
            content = unpacked(data)
            seq = content["seq"] if type(content.get("seq")) is int else 0
            reply = await session.reply(_message(content))
        except Refused as error:
            tally.refuse(str(error))
            reply = Message("error", {"error": str(error)}, seq)
        if reply is not None:
            sent = {"type": reply.type, "payload": reply.payload, "seq": reply.seq, "timestamp": time.time()}
            if reply.type == "action":
                tally.answer()
            await connection.send(packed(sent, markers="text"))


@dataclass
class Session:
    """One connection: the actions of the last chunk that were not played yet, and what the head draws from."""

    policy: ServedPolicy
    keys: Keys
    left: deque[np.ndarray] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.noise = self.policy.noise()

    async def reply(self, message: Message) -> Message | None:
        """Raises Refused where there is none."""
        match message.type:
            case "hello":
                return self._hello(message)
            case "observation":
                return Message("action", {"actions": await self._next(message.payload)}, message.seq)
            case _:
                self.left.clear()
                return None

    def _hello(self, message: Message) -> Message:
        version = message.payload.get("protocol_version")
        if version != VERSION:
            raise Refused(f"'protocol_version' is {shown(version)}; expected {VERSION}.")
        facts = {"protocol_version": VERSION, "capabilities": {}, "model_server": f"vla-workbench: {self.policy.name}"}
        return Message("hello", facts, message.seq)

    async def _next(self, observation: dict[str, Any]) -> np.ndarray:
        """The next action `[A]`; every observation is read, also those that only continue a chunk."""
        seen = self.keys.read(observation, self.policy.state)
        if not self.left:
            answer = await self.policy.act(seen, self.noise)
            self.left.extend(answer.actions_KA[: self.policy.executed])
        return self.left.popleft()


def _message(content: dict[str, Any]) -> Message:
    kind, payload, seq = (content.get(name) for name in ("type", "payload", "seq"))
    if not isinstance(kind, str) or kind not in TYPES:
        raise Refused(f"'type' is {shown(kind)}; expected one of {', '.join(TYPES)}.")
    if not isinstance(payload, dict):
        raise Refused(f"'payload' is of type {type(payload).__name__}; expected a map.")
    if type(seq) is not int or not 0 <= seq < 2**63:
        raise Refused(f"'seq' is {shown(seq)}; expected a count.")
    return Message(kind, payload, seq)
