"""The policy behind the server: one request at a time, whoever asks."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from workbench.evaluate import Player
from workbench.serving.observation import Seen
from workbench.serving.refusal import Refused

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """Raw actions `[K, A]` as the policy was trained on them, and what computing them took."""

    actions_KA: np.ndarray
    milliseconds: float


class ServedPolicy:
    """A player that acts for many connections, in one thread of its own, in the order in which they ask.

    `executed` actions of each chunk are what a client plays that is given one at a time; `state` is how many numbers of
    the robot's state it has to be told, 0 for none.
    """

    def __init__(self, player: Player, name: str, *, executed: int | None):
        self.name = name
        self._player = player
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="policy")
        told = player.proprioception
        self.state = 0 if told is None else told.width
        grey_HWC = np.broadcast_to(player.mean_colour, (64, 64, 3)).copy()
        first = Seen(grey_HWC, "wait", None if told is None else told.statistics.mean)
        self.chunk, self.dimensions = self._act(first, self.noise()).actions_KA.shape
        self.executed = min(executed or self.chunk, self.chunk)

    @staticmethod
    def noise() -> torch.Generator:
        """What a head draws from during one connection: the same requests get the same answers on every connection."""
        return torch.Generator().manual_seed(0)

    async def act(self, seen: Seen, noise: torch.Generator) -> Answer:
        """Raises Refused where the policy fails on this request; the traceback is logged here, not sent."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._act, seen, noise)
        except Exception as error:  # one request that a model cannot take must not end the others' service
            log.exception("The policy failed on a request")
            raise Refused(
                f"The policy failed on this request ({type(error).__name__}); see the server's log."
            ) from error

    def close(self) -> None:
        self._thread.shutdown()

    def _act(self, seen: Seen, noise: torch.Generator) -> Answer:
        began = time.perf_counter()
        told, state_BS = self._player.proprioception, None
        if told is not None and seen.state_S is not None:
            state_BS = told.scaled(seen.state_S[None])
        image_BHWC = seen.image_HWC[None].copy()
        (actions_KA,) = self._player.act(image_BHWC, [seen.instruction], noise=[noise], state_BS=state_BS)
        if not np.isfinite(actions_KA).all():
            raise FloatingPointError("actions that are not finite")
        return Answer(actions_KA, 1000 * (time.perf_counter() - began))
