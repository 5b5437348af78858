"""Episodes a second of processor time: run by hand, prints ratios, is no test.

    python benchmarks/evaluation_rate.py --episodes 96

The same episodes of the tabletop are played by the same policy, a block of each in turn, so that a busy machine hits
all alike:

- serial: one episode after the other, one picture at a time through the policy, as most evaluation scripts do;
- batched: the rows of the benchmark side by side, as `workbench run` and `workbench evaluate` play;
- replayed: batched, with the actions that the policy took and without the policy: what simulator and renderer cost.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch
from evaluation_overhead import Clock, ratio

from workbench.benchmarks.contract import Protocol, Start
from workbench.benchmarks.registry import open_env
from workbench.benchmarks.rules import rules_of
from workbench.build import build
from workbench.compute import place
from workbench.data.statistics import Statistics
from workbench.evaluate import Played, Player, play_rounds
from workbench.plan import Compute, Inputs
from workbench.spec import Spec, digest
from workbench.training.imitate import ActionScale


class Again(Player):
    """Does in each episode what was done in it before."""

    def act(
        self,
        pixels_BHWC: np.ndarray,
        instructions: list[str],
        *,
        noise: Sequence[torch.Generator],
        state_BS: np.ndarray | None = None,
    ) -> np.ndarray:
        return np.stack([next(CHUNKS[one.initial_seed()]) for one in noise])


CHUNKS: dict[int, "Chunks"] = {}
"""What is left to do, by the seed of an episode's noise, which tells episodes apart."""


class Chunks:
    """The actions of one episode, a chunk at a time; the last one is filled up."""

    def __init__(self, actions_SA: np.ndarray, size: int):
        self.actions, self.size, self.done = actions_SA, size, 0

    def __next__(self) -> np.ndarray:
        rows = np.arange(self.done, self.done + self.size).clip(max=len(self.actions) - 1)
        self.done += self.size
        return self.actions[rows]


def main() -> None:
    parser = argparse.ArgumentParser(description="Episodes a second of processor time.")
    parser.add_argument("--episodes", type=int, default=96, help="of each way to play; a multiple of 32 is played")
    asked = parser.parse_args()
    protocol = Protocol.model_validate({"tasks": ["reach"], "initial_states": max(32, asked.episodes // 32 * 32)})
    chunk = protocol.n_action_steps
    torch.set_num_threads(1)
    policy, backbone = build(Spec(), 0, chunk=chunk, root=Path())
    scale = ActionScale(Statistics.from_values(np.random.default_rng(0).uniform(-0.02, 0.02, (50, 7))))
    player = Player(policy, backbone, scale, np.zeros(3, np.uint8), place(Compute()))
    again = Again(policy, backbone, scale, np.zeros(3, np.uint8), place(Compute()))
    rows = rules_of(protocol.benchmark).rows
    alone, beside = open_env(protocol, 1), open_env(protocol, rows)

    def serial(starts: Sequence[Start]) -> int:
        return len(list(play_rounds(alone, player, Inputs(), [starts])))

    def batched(starts: Sequence[Start]) -> int:
        remember(list(play_rounds(beside, player, Inputs(), [starts])), chunk)
        return len(starts)

    def replayed(starts: Sequence[Start]) -> int:
        return len(list(play_rounds(beside, again, Inputs(), [starts])))

    clocks = {"serial": Clock(serial), "batched": Clock(batched), "replayed": Clock(replayed)}
    manifest = protocol.manifest()
    for block in range(len(manifest) // rows):
        for clock in clocks.values():
            clock.take(manifest[block * rows : (block + 1) * rows])
    alone.close()
    beside.close()
    for name, clock in clocks.items():
        print(f"{name:8} {clock.episodes / sum(clock.processor):6.1f} episodes a second of processor time", end="; ")
        print(f"{ratio(clocks['serial'].processor, clock.processor)} of the serial loop's")


def remember(played: list[Played], chunk: int) -> None:
    for one in played:
        CHUNKS[int(digest(asdict(one.start)), 16)] = Chunks(one.actions, chunk)


if __name__ == "__main__":
    main()
