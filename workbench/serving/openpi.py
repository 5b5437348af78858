"""What openpi's websocket client expects (`openpi_client.websocket_client_policy`, version 0.1).

The server speaks first: one map of facts. Then every message is an observation and its answer a map with the whole
chunk, `actions [K, A]`. An error is a text, after which the server closes.
"""

import time
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode

from workbench.serving.messages import packed, unpacked
from workbench.serving.observation import Keys
from workbench.serving.policy import ServedPolicy
from workbench.serving.refusal import Refused
from workbench.serving.tally import Tally

PATH = "/"
KEYS = Keys(image="observation/image", prompt="prompt", state="observation/state")
"""As openpi's LIBERO client names them."""


async def converse(connection: ServerConnection, policy: ServedPolicy, keys: Keys, tally: Tally) -> None:
    facts = {"policy": policy.name, "chunk": policy.chunk, "action_dim": policy.dimensions}
    facts |= {"image_key": keys.image, "prompt_key": keys.prompt}
    if policy.state:
        facts |= {"state_key": keys.state, "state_dim": policy.state}
    await connection.send(packed(facts, markers="bytes"))
    noise, before = policy.noise(), {}
    async for data in connection:
        began = time.perf_counter()
        try:
            answer = await policy.act(keys.read(unpacked(data), policy.state), noise)
        except Refused as error:
            tally.refuse(str(error))
            await connection.send(str(error))
            await connection.close(CloseCode.INTERNAL_ERROR, "the reason is the message before this")
            return
        spent = {"infer_ms": answer.milliseconds}
        told: dict[str, Any] = {"actions": answer.actions_KA, "policy_timing": spent, "server_timing": spent | before}
        tally.answer()
        await connection.send(packed(told, markers="bytes"))
        before = {"prev_total_ms": 1000 * (time.perf_counter() - began)}
