"""What the workbench's evaluation loop costs beside a simulator: run by hand, prints ratios, is no test.

    python benchmarks/evaluation_overhead.py --episodes 500

A stand-in of LIBERO's shape (256 × 256 pictures, 7 numbers an action, 220 control steps, 8 actions a chunk, 8 rows) is
played three ways in turn, a block of 8 episodes each time, so that a busy machine hits all alike:

- bare: nothing but its steps and its pictures, as many as a policy needs;
- loop: `workbench.evaluate.play_rounds`, with a player that stands still and computes nothing;
- remote: the same through a process of its own (`RemoteEnv`), arrays over a local socket.

Speeds are of wall-clock time, and of processor time of this process, which others on the machine hardly touch.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch
from sim_standin import PICTURE, STEP, Work

from workbench.benchmarks.contract import Protocol, Start
from workbench.benchmarks.env import BenchmarkEnv, RowEnv
from workbench.benchmarks.remote.client import RemoteEnv
from workbench.benchmarks.remote.simulators import Simulator
from workbench.benchmarks.rules import rules_of
from workbench.build import build
from workbench.compute import place
from workbench.data.statistics import Statistics
from workbench.evaluate import Player, play_rounds
from workbench.plan import Compute, Inputs
from workbench.spec import Spec
from workbench.training.imitate import ActionScale

PROTOCOL = Protocol.model_validate({"benchmark": "libero-spatial"})
RULES = rules_of(PROTOCOL.benchmark)
ROWS, CHUNK, HORIZON = RULES.rows, PROTOCOL.n_action_steps, max(RULES.horizons.values())


class StandIn(RowEnv):
    """The stand-in in this process."""

    def __init__(self):
        super().__init__(PROTOCOL, ROWS)
        self.work = Work()

    def place(self, row: int, start: Start) -> None:
        pass

    def move(self, row: int, action: np.ndarray) -> tuple[bool, float]:
        self.work.burn(self.work.step)
        return False, 0.0

    def look(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        return self.work.draw(row), np.zeros(len(RULES.state), np.float32)

    def first_frame(self, start: Start) -> np.ndarray:
        return self.work.draw(0)

    def sentence(self, start: Start) -> str:
        return "pick up the black bowl"


class Still(Player):
    """Looks at nothing and does nothing."""

    def act(
        self,
        pixels_BHWC: np.ndarray,
        instructions: list[str],
        *,
        noise: Sequence[torch.Generator],
        state_BS: np.ndarray | None = None,
    ) -> np.ndarray:
        return np.zeros((len(instructions), CHUNK, len(RULES.actions)))


def still() -> Still:
    policy, backbone = build(Spec(), 0, chunk=CHUNK, root=Path())
    scale = ActionScale(Statistics.from_values(np.random.default_rng(0).uniform(-1, 1, (50, len(RULES.actions)))))
    return Still(policy, backbone, scale, np.zeros(3, np.uint8), place(Compute()))


def bare(env: StandIn, starts: Sequence[Start]) -> int:
    """The least that a rollout needs of a simulator; returns how many episodes were played."""
    for step in range(HORIZON):
        for row in range(len(starts)):
            if step % CHUNK == 0:
                env.look(row)
            env.move(row, STILL)
    return len(starts)


STILL = np.zeros(len(RULES.actions))


def looped(env: BenchmarkEnv, player: Player, starts: Sequence[Start]) -> int:
    played = list(play_rounds(env, player, Inputs(), [starts]))
    assert all(one.outcome.steps == HORIZON for one in played)
    return len(played)


@dataclass
class Clock:
    """One way to play: how many episodes, and what each block of them took, in seconds."""

    play: Callable[[Sequence[Start]], int]
    episodes: int = 0
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def take(self, starts: Sequence[Start]) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        self.episodes += self.play(starts)
        self.wall.append(time.perf_counter() - wall)
        self.processor.append(time.process_time() - processor)


def main() -> None:
    parser = argparse.ArgumentParser(description="What the evaluation loop costs beside a simulator.")
    parser.add_argument("--episodes", type=int, default=500, help="of each way to play; a multiple of 8 is played")
    parser.add_argument("--step", type=int, default=150, help="matrix products that a control step costs")
    parser.add_argument("--picture", type=int, default=300, help="matrix products that a picture costs")
    asked = parser.parse_args()
    os.environ |= {STEP: str(asked.step), PICTURE: str(asked.picture), "STANDIN_RULES": RULES.digest()}
    simulator = Simulator("standin", Path(__file__).parent / "sim_standin.py", "NumPy", rows=ROWS)
    os.environ[simulator.python_variable] = sys.executable
    env, remote, player = StandIn(), RemoteEnv(PROTOCOL, ROWS, simulator), still()
    clocks = {
        "bare": Clock(lambda starts: bare(env, starts)),
        "loop": Clock(lambda starts: looped(env, player, starts)),
        "remote": Clock(lambda starts: looped(remote, player, starts)),
    }
    manifest = PROTOCOL.manifest()
    for clock in clocks.values():  # once unmeasured: caches are filled
        clock.play(manifest[:1])
    for block in range(max(1, asked.episodes // ROWS)):
        names = list(clocks) if block % 2 else list(clocks)[::-1]
        for name in names:
            clocks[name].take([manifest[(block * ROWS + row) % len(manifest)] for row in range(ROWS)])
    remote.close()
    told(clocks, env)


def told(clocks: dict[str, Clock], env: StandIn) -> None:
    reference = clocks["bare"]
    print(f"one control step {milliseconds(lambda: env.move(0, STILL)):.2f} ms of processor time, ", end="")
    print(f"one picture {milliseconds(lambda: env.look(0)):.2f} ms")
    for name, clock in clocks.items():
        line = f"{name:7} {clock.episodes} episodes, {clock.episodes / sum(clock.wall) * 3600:,.0f} an hour; "
        line += f"of the bare speed {ratio(reference.wall, clock.wall)} by the clock"
        if name != "remote":  # the simulator's share is another process's
            line += f", {ratio(reference.processor, clock.processor)} by processor time"
        print(line)


def ratio(reference: list[float], taken: list[float]) -> str:
    """Of the sums, and the median of the blocks, which a block that was disturbed does not move."""
    blocks = np.median(np.array(reference) / np.array(taken))
    return f"{100 * sum(reference) / sum(taken):.1f} % (median of blocks {100 * blocks:.1f} %)"


def milliseconds(work: Callable[[], object], times: int = 50) -> float:
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times * 1000


if __name__ == "__main__":
    main()
