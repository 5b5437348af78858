"""Rollouts: a policy plays a protocol's manifest, many tables at once, and yields one outcome an episode."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from workbench.backbones.contract import Backbone
from workbench.benchmarks.contract import Outcome, Protocol, Start
from workbench.benchmarks.tabletop.env import ACTION_NAMES, TabletopVectorEnv
from workbench.compute import Place
from workbench.errors import UserError
from workbench.imitate import ActionScale
from workbench.plan import Inputs
from workbench.policy import Policy
from workbench.spec import digest

ROWS = 32
"""Tables that one process plays side by side: the policy's batch."""


@dataclass(frozen=True)
class Player:
    """A policy with all that turns frames into raw actions. `mean_colour [3]` uint8 is what a blank image shows."""

    policy: Policy
    backbone: Backbone
    scale: ActionScale
    mean_colour: np.ndarray
    spot: Place

    def act(
        self, pixels_BHWC: np.ndarray, instructions: list[str], inputs: Inputs, *, noise: Sequence[torch.Generator]
    ) -> np.ndarray:
        """Raw action chunks `[B, K, A]`; a head that draws takes from each row's own `noise`."""
        if inputs.image == "blank":
            pixels_BHWC = np.broadcast_to(self.mean_colour, pixels_BHWC.shape).copy()
        if inputs.instruction == "blank":
            instructions = [""] * len(instructions)
        self.policy.eval()
        image_BHWC = torch.from_numpy(pixels_BHWC).to(self.spot.device)
        with torch.no_grad(), self.spot.autocast():
            walk = self.policy(image_BHWC, self.backbone.tokenize(instructions).to(self.spot.device))
            chunk = self.policy.head.act(walk.hidden, noise)
        return self.scale.to_world(chunk.arm_BKA.cpu().numpy(), chunk.closed_BK.cpu().numpy())


@dataclass(frozen=True)
class Played:
    """An outcome with the actions that were executed, `[steps, A]`: enough to play the episode again."""

    start: Start
    outcome: Outcome
    actions: np.ndarray


@dataclass
class Table:
    """The episode that one row of the environment is playing, and what it has done so far.

    `noise` is a function of the start alone: an episode is the same whichever others are played beside it, and every
    arm that draws meets the same noise.
    """

    start: Start
    instruction: str
    began: float
    noise: torch.Generator
    actions: list[np.ndarray] = field(default_factory=list)

    def ended(self, *, success: bool, steps: int, progress: float) -> Played:
        outcome = Outcome(
            task=self.start.task,
            initial_state=self.start.initial_state,
            seed=self.start.seed,
            instruction=self.instruction,
            success=success,
            steps=steps,
            progress=round(progress, 4),
            seconds=round(time.perf_counter() - self.began, 4),
        )
        return Played(self.start, outcome, np.array(self.actions))


def play(player: Player, protocol: Protocol, inputs: Inputs) -> Iterator[Played]:
    """Every episode of the manifest, in the order in which they end."""
    chunk, executed = player.policy.head.chunk, protocol.n_action_steps
    if executed > chunk:
        raise UserError(
            f"The protocol plays {executed} actions of each chunk (n_action_steps), but the policy predicts {chunk}; "
            f"play at most {chunk}, or train with a larger chunk."
        )
    waiting = deque(protocol.manifest())
    env = TabletopVectorEnv(min(ROWS, len(waiting)))
    tables: dict[int, Table] = {}
    try:
        while waiting or tables:
            pixels = _seat(env, tables, waiting)
            rows = sorted(tables)
            asked = [tables[row].instruction for row in rows]
            action = np.zeros((executed, env.num_envs, len(ACTION_NAMES)))
            noise = [tables[row].noise for row in rows]
            action[:, rows] = player.act(pixels[rows], asked, inputs, noise=noise)[:, :executed].swapaxes(0, 1)
            for step in action:
                yield from _advance(env, tables, step)
    finally:
        env.close()


def _seat(env: TabletopVectorEnv, tables: dict[int, Table], waiting: deque[Start]) -> np.ndarray:
    """Give every free row the next episode; returns what all rows see, `[rows, H, W, 3]`."""
    began = time.perf_counter()
    free = [row for row in range(env.num_envs) if row not in tables]
    fresh = {row: waiting.popleft() for row in free[: len(waiting)]}
    observation, info = env.reset(options={"starts": [fresh.get(row) for row in range(env.num_envs)]})
    for row, start in fresh.items():
        noise = torch.Generator().manual_seed(int(digest(asdict(start)), 16))
        tables[row] = Table(start, info["task_description"][row], began, noise)
    return observation["pixels"]


def _advance(env: TabletopVectorEnv, tables: dict[int, Table], action: np.ndarray) -> Iterator[Played]:
    """One control step (`action [rows, A]`) of every table; yields the episodes that it ends and frees their rows."""
    playing = np.isin(np.arange(env.num_envs), list(tables))
    success = env.advance(action, playing)
    for row in sorted(tables):
        tables[row].actions.append(action[row])
        if env.ended(row, bool(success[row])):
            steps, progress = int(env.age[row]), float(env.best[row])
            yield tables.pop(row).ended(success=bool(success[row]), steps=steps, progress=progress)
            env.leave(row)


def in_manifest_order(played: list[Played], protocol: Protocol) -> list[Played]:
    """The same episodes in the manifest's order; raises where one is missing or played twice."""
    found = {p.start: p for p in played}
    if len(found) != len(played):
        raise AssertionError("an episode was played twice")
    return [found[start] for start in protocol.manifest()]
