"""What happened at the server, counted for the person who watches it."""

import time
from collections import deque
from collections.abc import Callable

MINUTE = 60.0


class Tally:
    """Clients, requests of the last minute, refusals; `tell` is given a line where something is worth one."""

    def __init__(self, tell: Callable[[str], None]):
        self.tell = tell
        self.connected = self.answered = self.refused = 0
        self._times: deque[float] = deque()

    def came(self, client: str) -> None:
        self.connected += 1
        self.tell(f"{client} connected")

    def left(self, client: str) -> None:
        self.connected -= 1
        self.tell(f"{client} left")

    def answer(self) -> None:
        self.answered += 1
        self._times.append(time.monotonic())

    def refuse(self, sentence: str) -> None:
        self.refused += 1
        self.tell(f"refused: {sentence}")

    def a_minute(self) -> int:
        """Requests answered in the last minute."""
        while self._times and self._times[0] < time.monotonic() - MINUTE:
            self._times.popleft()
        return len(self._times)
