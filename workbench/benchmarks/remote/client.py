"""A simulator in another process as a benchmark: what `BenchmarkEnv` promises, asked for over a line.

Each of begin, advance and observe is one round trip for all rows. Where one process cannot hold all rows there are
several, which work side by side.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from workbench.benchmarks.contract import Protocol, Start
from workbench.benchmarks.env import BenchmarkEnv
from workbench.benchmarks.remote.peer import Peer, attach, start
from workbench.benchmarks.remote.simulators import Simulator
from workbench.benchmarks.remote.wire import Message
from workbench.errors import UserError

LEAVING = 5.0
"""Seconds that a simulator has to end by itself."""
LOADING = 10
"""How many times the patience of one request the first one has, which loads the simulator."""


class RemoteEnv(BenchmarkEnv):
    """`count` rows in one or more processes of the simulator's own Python.

    Raises UserError where there is no such Python or it lacks the simulator; SimulatorFailed, with the simulator's last
    lines, where it fails, ends or does not answer in time. It never waits for longer than the simulator's `patience`.
    """

    def __init__(self, protocol: Protocol, count: int, simulator: Simulator):
        super().__init__(protocol, count)
        self.peers: list[Peer] = []
        servers = simulator.servers()
        hosts = -(-count // simulator.rows) if not servers else len(servers)
        if count > hosts * simulator.rows:
            raise UserError(
                f"{count} episodes of {simulator.world} need {-(-count // simulator.rows)} servers, {simulator.rows} "
                f"each; {simulator.server_variable} names {hosts}. Start more, or name none, then they are started."
            )
        self.shares = [int(rows) for rows in np.linspace(0, count, min(hosts, count) + 1)]
        try:
            for index in range(len(self.shares) - 1):
                peer, token = attach(simulator, *servers[index]) if servers else start(simulator)
                self.peers.append(peer)
                peer.send(self._greeting(index, token), patience=simulator.patience * LOADING)
            for peer in self.peers:
                peer.receive("hello")
        except BaseException:
            self.close()
            raise

    def _greeting(self, index: int, token: str) -> Message:
        """The rules go as they are played: with the protocol's own horizon where that is shorter."""
        rules = self.rules.model_dump(mode="json")
        if self.protocol.horizon is not None:
            rules["horizons"] = {task: min(most, self.protocol.horizon) for task, most in rules["horizons"].items()}
        fields = {
            "token": token,
            "benchmark": self.protocol.benchmark,
            "digest": self.rules.digest(),
            "rules": rules,
            "count": self.shares[index + 1] - self.shares[index],
            "width": self.width,
            "height": self.height,
            "camera": self.protocol.camera,
            "render": self.protocol.render,
        }
        return Message("hello", fields)

    def begin(self, starts: Sequence[Start | None]) -> None:
        shares = dict(self._shared(np.array([start is not None for start in starts])))
        asked = {}
        for index, rows in shares.items():
            named = [asdict(start) for row in rows if (start := starts[row]) is not None]
            asked[index] = Message("begin", {"rows": [row - self.shares[index] for row in rows], "starts": named})
        for index, answer in self._asked(asked):
            self._learn(index, answer, shares[index])
            for row in shares[index]:
                self.starts[row] = starts[row]

    def advance(self, actions: np.ndarray, rows: np.ndarray) -> np.ndarray:
        chosen = np.array([start is not None for start in self.starts]) & rows
        shares = dict(self._shared(chosen))
        asked = {
            index: Message(
                "advance", {}, {"rows": np.array(rows) - self.shares[index], "actions": np.asarray(actions)[rows]}
            )
            for index, rows in shares.items()
        }
        success = np.zeros(self.num_envs, bool)
        for index, answer in self._asked(asked):
            self._learn(index, answer, shares[index])
            success[shares[index]] = self._array(index, answer, "success", (len(shares[index]),), bool)
        return success

    def observe(self) -> dict[str, np.ndarray]:
        pixels = np.zeros((self.num_envs, self.height, self.width, 3), np.uint8)
        state = np.zeros((self.num_envs, len(self.rules.state)), np.float32)
        shares = dict(self._shared(np.array([start is not None for start in self.starts])))
        for index, answer in self._asked({index: Message("observe") for index in shares}):
            rows = shares[index]
            named = self._array(index, answer, "rows", (len(rows),), np.int64) + self.shares[index]
            if named.tolist() != rows:
                raise self.peers[index].wrong("observe", f"rows {named.tolist()} for {rows}")
            pixels[rows] = self._array(index, answer, "pixels", (len(rows), *pixels.shape[1:]), np.uint8)
            state[rows] = self._array(index, answer, "state", (len(rows), state.shape[1]), np.float32)
        return {"pixels": pixels, "agent_pos": state}

    def leave(self, row: int) -> None:
        if self.starts[row] is not None:
            index, place = self._place(row)
            self.peers[index].ask(Message("leave", {"row": place}))
        self.starts[row], self.instructions[row] = None, ""

    def first_frame(self, start: Start) -> np.ndarray:
        answer = self.peers[0].ask(Message("first_frame", {"start": asdict(start)}))
        return self._array(0, answer, "pixels", (self.height, self.width, 3), np.uint8)

    def sentence(self, start: Start) -> str:
        answer = self.peers[0].ask(Message("sentence", {"start": asdict(start)}))
        return self._text(0, answer, answer.fields.get("sentence"))

    def misnamed(self, start: Start) -> str:
        return self.rules.misnamed.get(start.task) or super().misnamed(start)

    def paraphrased(self, start: Start) -> str:
        return self.rules.paraphrased.get(start.task) or super().paraphrased(start)

    def expert_action(self, row: int) -> np.ndarray:
        if not self.rules.expert:
            return super().expert_action(row)
        index, place = self._place(row)
        answer = self.peers[index].ask(Message("expert_action", {"row": place}))
        return self._array(index, answer, "action", (len(self.rules.actions),), None)

    def close_extras(self, **kwargs: Any) -> None:
        for peer in self.peers:
            peer.line.close()
        for peer in self.peers:
            peer.close(patience=LEAVING)

    def _place(self, row: int) -> tuple[int, int]:
        """Which peer holds a row, and where."""
        index = int(np.searchsorted(self.shares, row, side="right")) - 1
        return index, row - self.shares[index]

    def _shared(self, chosen: np.ndarray) -> list[tuple[int, list[int]]]:
        """Each peer that has any of the chosen rows, with these rows."""
        shares = [(i, self.shares[i] + np.flatnonzero(chosen[self.shares[i] : end])) for i, end in self._ends()]
        return [(index, rows.tolist()) for index, rows in shares if len(rows)]

    def _ends(self) -> list[tuple[int, int]]:
        return list(enumerate(self.shares[1:]))

    def _asked(self, asked: dict[int, Message]) -> list[tuple[int, Message]]:
        """The answers of all peers that are asked; they work at the same time."""
        for index, message in asked.items():
            self.peers[index].send(message)
        return [(index, self.peers[index].receive(message.kind)) for index, message in asked.items()]

    def _learn(self, index: int, answer: Message, rows: list[int]) -> None:
        """Take over what the server says of these rows."""
        said = answer.fields.get("instructions")
        if not isinstance(said, list) or len(said) != len(rows):
            raise self.peers[index].wrong(answer.kind, "no instruction for each row")
        self.age[rows] = self._array(index, answer, "age", (len(rows),), np.int64)
        self.best[rows] = self._array(index, answer, "best", (len(rows),), np.float64)
        self.lost[rows] = self._array(index, answer, "lost", (len(rows),), bool)
        for place, row in enumerate(rows):
            self.instructions[row] = self._text(index, answer, said[place])

    def _array(self, index: int, answer: Message, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array of the answer; of any number of a real kind where no dtype is given."""
        found = answer.arrays.get(name)
        if found is None or found.shape != shape or (found.dtype != dtype if dtype else found.dtype.kind != "f"):
            got = "nothing" if found is None else f"{found.dtype} {found.shape}"
            raise self.peers[index].wrong(answer.kind, f"{got} for {name}, which is {dtype or 'float'} {shape}")
        return found

    def _text(self, index: int, answer: Message, said: Any) -> str:
        if not isinstance(said, str):
            raise self.peers[index].wrong(answer.kind, f"{type(said).__name__} for a sentence")
        return said
