"""Rollouts: a policy plays a protocol's manifest, many tables at once, and yields one outcome an episode."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from workbench.backbones.contract import Backbone
from workbench.benchmarks.contract import Outcome, Protocol, Start
from workbench.benchmarks.env import BenchmarkEnv
from workbench.benchmarks.registry import open_env
from workbench.benchmarks.rules import rules_of
from workbench.compute import Place
from workbench.errors import UserError
from workbench.interventions import Interventions, random_of
from workbench.plan import Inputs
from workbench.policy import Policy
from workbench.proprioception import Proprioception
from workbench.spec import digest
from workbench.training.imitate import ActionScale


@dataclass(frozen=True)
class Player:
    """A policy with all that turns frames into raw actions.

    `mean_colour [3]` uint8 is what a blank image shows; `tasks` are the sentences that the policy was trained on.
    `proprioception` is how it is told where the robot is, None where it is not.
    """

    policy: Policy
    backbone: Backbone
    scale: ActionScale
    mean_colour: np.ndarray
    spot: Place
    tasks: tuple[str, ...] = ()
    proprioception: Proprioception | None = None

    def act(
        self,
        pixels_BHWC: np.ndarray,
        instructions: list[str],
        *,
        noise: Sequence[torch.Generator],
        state_BS: np.ndarray | None = None,
    ) -> np.ndarray:
        """Raw action chunks `[B, K, A]`; a head that draws takes from each row's own `noise`.

        `state_BS` is what `proprioception.scaled` gives, where there is one.
        """
        if self.policy.training:
            self.policy.eval()
        image_BHWC = torch.from_numpy(pixels_BHWC).to(self.spot.device)
        state = None if state_BS is None else torch.from_numpy(state_BS).to(self.spot.device)
        with torch.inference_mode(), self.spot.autocast():
            walk = self.policy(image_BHWC, self.backbone.tokenize(instructions).to(self.spot.device), state)
            chunk = self.policy.head.act(walk.hidden, noise)
        closed_BK = None if chunk.closed_BK is None else chunk.closed_BK.cpu().numpy()
        return self.scale.to_world(chunk.arm_BKA.cpu().numpy(), closed_BK)


@dataclass(frozen=True)
class Played:
    """An outcome with the actions that were executed, `[steps, A]`: enough to play the episode again."""

    start: Start
    outcome: Outcome
    actions: np.ndarray


@dataclass(kw_only=True)
class Underway:
    """An episode that is being played, and what was done so far; `instruction` is the one that it began with."""

    start: Start
    instruction: str
    began: float
    actions: list[np.ndarray] = field(default_factory=list)

    def ended(self, env: BenchmarkEnv, row: int, *, success: bool) -> Played:
        """What is stored of it; it ends in `row` of `env`."""
        outcome = Outcome(
            task=self.start.task,
            initial_state=self.start.initial_state,
            seed=self.start.seed,
            instruction=self.instruction,
            success=success,
            steps=int(env.age[row]),
            progress=round(float(env.best[row]), 4),
            seconds=round(time.perf_counter() - self.began, 4),
        )
        return Played(self.start, outcome, np.array(self.actions))


@dataclass(kw_only=True)
class Table(Underway):
    """The episode that a policy is playing in one row of the environment.

    `asked` is what the benchmark asks for now; `told`, `still` and `unmoved` are what the policy is given for it and,
    if anything, for the picture and for the robot's state. `noise` and `random` are functions of the start alone: an
    episode is the same whichever others are played beside it, and every arm that draws meets the same noise.
    """

    asked: str
    told: str
    still: np.ndarray | None
    unmoved: np.ndarray | None
    noise: torch.Generator
    random: np.random.Generator


def check_chunk(player: Player, protocol: Protocol) -> None:
    """Raises UserError where the protocol executes more actions of a chunk than the policy predicts."""
    chunk, executed = player.policy.head.chunk, protocol.n_action_steps
    if executed > chunk:
        raise UserError(
            f"The protocol plays {executed} actions of each chunk (n_action_steps), but the policy predicts {chunk}; "
            f"play at most {chunk}, or train with a larger chunk."
        )


def check_told(player: Player, protocol: Protocol, inputs: Inputs) -> None:
    """Raises UserError where the benchmark tells another state than the policy is given, or none is there to change."""
    told, names = player.proprioception, rules_of(protocol.benchmark).state
    if told is not None and told.width != len(names):
        raise UserError(
            f"The policy is given {told.width} numbers of its robot's state, but {protocol.benchmark} tells "
            f"{len(names)}: play the benchmark that it was trained for."
        )
    if told is None and inputs.proprioception != "given":
        raise UserError(
            f"The policy is given no state of its robot: proprioception cannot be {inputs.proprioception!r}."
        )


def play_rounds(
    env: BenchmarkEnv, player: Player, inputs: Inputs, rounds: Iterable[Sequence[Start]]
) -> Iterator[Played]:
    """The episodes of each round, in the order in which they end; a round begins when the last one has ended.

    Which episodes lie beside which, and so the last bits of what is computed for them together, is a function of the
    round alone. Interventions look at the whole manifest of the protocol of `env`, whatever is played of it.
    """
    protocol = env.protocol
    given = Interventions(inputs, player.mean_colour, player.tasks, protocol.manifest(), player.proprioception)
    for starts in rounds:
        waiting, tables = deque(starts), dict[int, Table]()
        while waiting or tables:
            observation = _seat(env, tables, waiting, given)
            rows, seated = zip(*sorted(tables.items()), strict=True)
            pixels = observation["pixels"]
            shown = np.stack([given.shown(pixels[row], tables[row].still, tables[row].random) for row in rows])
            felt = _felt(player.proprioception, observation["agent_pos"], tables)
            action = np.zeros((protocol.n_action_steps, env.num_envs, len(env.rules.actions)))
            chunk_BKA = player.act(
                shown, [one.told for one in seated], noise=[one.noise for one in seated], state_BS=felt
            )
            action[:, rows] = chunk_BKA[:, : protocol.n_action_steps].swapaxes(0, 1)
            for step in action:
                yield from _advance(env, tables, step)


def play_expert(protocol: Protocol) -> Iterator[Played]:
    """Every episode of the manifest, played by the benchmark's scripted expert, which sees the state."""
    env = open_env(protocol, 1)
    try:
        for start in protocol.manifest():
            began = time.perf_counter()
            _, info = env.reset(options={"starts": [start]})
            episode, success = Underway(start=start, instruction=info["task_description"][0], began=began), False
            while not env.ended(0, success):
                episode.actions.append(env.expert_action(0))
                success = bool(env.advance(episode.actions[-1][None], np.ones(1, bool))[0])
            yield episode.ended(env, 0, success=success)
    finally:
        env.close()


def _felt(
    proprioception: Proprioception | None, state_RS: np.ndarray, tables: Mapping[int, Table]
) -> np.ndarray | None:
    """What the policy is told of the robot in each row that is played, in their order."""
    if proprioception is None:
        return None
    rows = sorted(tables)
    state_BS = proprioception.scaled(state_RS[rows])
    unmoved = [tables[row].unmoved for row in rows]
    return np.stack([own if one is None else one for own, one in zip(state_BS, unmoved, strict=True)])


def _seat(
    env: BenchmarkEnv, tables: dict[int, Table], waiting: deque[Start], given: Interventions
) -> Mapping[str, np.ndarray]:
    """Give every free row the next episode; returns what all rows observe."""
    began = time.perf_counter()
    free = [row for row in range(env.num_envs) if row not in tables]
    fresh = {row: waiting.popleft() for row in free[: len(waiting)]}
    unmoved = given.unmoved(env, fresh)
    observation, info = env.reset(options={"starts": [fresh.get(row) for row in range(env.num_envs)]})
    for row, start in fresh.items():
        instruction = info["task_description"][row]
        tables[row] = Table(
            start=start,
            instruction=instruction,
            began=began,
            asked=instruction,
            told=given.told(env, start, instruction),
            still=given.still(env, start),
            unmoved=unmoved.get(row),
            noise=torch.Generator().manual_seed(int(digest(asdict(start)), 16)),
            random=random_of(start),
        )
    for row, table in tables.items():
        if env.instructions[row] != table.asked:
            table.asked = env.instructions[row]
            table.told = given.told(env, table.start, table.asked)
    return observation


def _advance(env: BenchmarkEnv, tables: dict[int, Table], action: np.ndarray) -> Iterator[Played]:
    """One control step (`action [rows, A]`) of every table; yields the episodes that it ends and frees their rows.

    A table that was asked for something else since the policy looked waits until it looks again.
    """
    playing = [row for row in sorted(tables) if env.instructions[row] == tables[row].asked]
    success = env.advance(action, np.isin(np.arange(env.num_envs), playing))
    for row in playing:
        tables[row].actions.append(action[row])
        if env.ended(row, bool(success[row])):
            yield tables.pop(row).ended(env, row, success=bool(success[row]))
            env.leave(row)


def in_manifest_order(played: list[Played], protocol: Protocol) -> list[Played]:
    """The same episodes in the manifest's order; raises where one is missing or played twice."""
    found = {p.start: p for p in played}
    if len(found) != len(played):
        raise AssertionError("an episode was played twice")
    return [found[start] for start in protocol.manifest()]
