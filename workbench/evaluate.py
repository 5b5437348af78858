"""Rollouts: a policy plays a protocol's manifest, many tables at once, and yields one outcome an episode."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from workbench.backbones.contract import Backbone
from workbench.benchmarks.contract import Outcome, Protocol, Start
from workbench.benchmarks.tabletop.env import TabletopVectorEnv
from workbench.imitate import ActionScale
from workbench.plan import Inputs
from workbench.policy import Policy

ROWS = 32
"""Tables that one process plays side by side: the policy's batch."""


@dataclass(frozen=True)
class Player:
    """A policy with all that turns frames into raw actions. `mean_colour [3]` uint8 is what a blank image shows."""

    policy: Policy
    backbone: Backbone
    scale: ActionScale
    mean_colour: np.ndarray

    def act(self, pixels_BHWC: np.ndarray, instructions: list[str], inputs: Inputs) -> np.ndarray:
        """Raw action chunks `[B, K, A]`."""
        if inputs.image == "blank":
            pixels_BHWC = np.broadcast_to(self.mean_colour, pixels_BHWC.shape).copy()
        if inputs.instruction == "blank":
            instructions = [""] * len(instructions)
        self.policy.eval()
        with torch.no_grad():
            walk = self.policy(torch.from_numpy(pixels_BHWC), self.backbone.tokenize(instructions))
        return self.scale.to_world(walk.arm_BKA.numpy(), walk.grip_BK.numpy() > 0)


@dataclass(frozen=True)
class Played:
    """An outcome with the actions that were executed, `[steps, A]`: enough to play the episode again."""

    start: Start
    outcome: Outcome
    actions: np.ndarray


def play(player: Player, protocol: Protocol, inputs: Inputs) -> Iterator[Played]:
    """Every episode of the manifest, in the order in which they end."""
    queue = deque(protocol.manifest())
    rows = min(ROWS, len(queue))
    env = TabletopVectorEnv(rows)
    current: list[Start | None] = [None] * rows
    actions: list[list[np.ndarray]] = [[] for _ in range(rows)]
    began = [0.0] * rows
    try:
        while True:
            fresh: list[Start | None] = [None] * rows
            for row in range(rows):
                if current[row] is None and queue:
                    fresh[row] = current[row] = queue.popleft()
                    actions[row], began[row] = [], time.perf_counter()
            observation, info = env.reset(options={"starts": fresh})
            active = np.array([start is not None for start in current])
            if not active.any():
                return
            asked = [info["task_description"][row] for row in np.flatnonzero(active)]
            chunk = np.zeros((rows, protocol.n_action_steps, 7))
            chunk[active] = player.act(observation["pixels"][active], asked, inputs)[:, : protocol.n_action_steps]
            for k in range(protocol.n_action_steps):
                success = env.advance(chunk[:, k], active)
                for row in np.flatnonzero(active):
                    actions[row].append(chunk[row, k])
                    if success[row] or env.age[row] >= env.horizon(int(row)):
                        active[row] = False
                        start = current[row]
                        assert start is not None
                        outcome = Outcome(
                            start.task,
                            start.initial_state,
                            start.seed,
                            info["task_description"][row],
                            bool(success[row]),
                            int(env.age[row]),
                            round(float(env.best[row]), 4),
                            round(time.perf_counter() - began[row], 4),
                        )
                        yield Played(start, outcome, np.array(actions[row]))
                        current[row] = None
                        env.leave(int(row))
    finally:
        env.close()


def in_manifest_order(played: list[Played], protocol: Protocol) -> list[Outcome]:
    """Outcomes in the manifest's order; raises where one is missing or played twice."""
    found = {p.start: p.outcome for p in played}
    if len(found) != len(played):
        raise AssertionError("an episode was played twice")
    return [found[start] for start in protocol.manifest()]
