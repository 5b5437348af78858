"""What a policy is given in place of what it sees, is told and feels: the input side of an ablation.

For training, a whole data set is changed once. At play each episode is changed by itself, from its own start alone, so
that it does not depend on which others are played beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import assert_never

import numpy as np

from workbench.benchmarks.contract import Start
from workbench.benchmarks.env import BenchmarkEnv
from workbench.data.contract import Frames
from workbench.errors import UserError
from workbench.plan import Inputs
from workbench.proprioception import Proprioception
from workbench.spec import digest


def for_training(
    frames: Frames,
    inputs: Inputs,
    *,
    mean_colour: np.ndarray,
    seed: int,
    proprioception: Proprioception | None = None,
) -> Frames:
    """Demonstrations as a policy sees them that is trained without what `inputs` take away.

    With `proprioception` their state is as it is told to the policy, else it stays as it is stored.
    """
    first_N = frames.first_N
    starts_M, episode_N = np.unique(first_N, return_inverse=True)
    said = [frames.tasks[frames.task_index[start]] for start in starts_M]
    random = np.random.default_rng([seed, 11])
    told = [_told(inputs, said, index, tasks=frames.tasks, random=random) for index in range(len(said))]
    tasks = tuple(dict.fromkeys(told))
    place = {task: index for index, task in enumerate(tasks)}
    task_index = np.array([place[sentence] for sentence in told])[episode_N]
    other_N = np.roll(starts_M, 1)[episode_N]
    image = _images(frames.image, inputs, mean_colour, first_N=first_N, other_N=other_N)
    state = _states(frames.state, inputs, proprioception, other_N=other_N) if proprioception else frames.state
    return replace(frames, image=image, state=state, task_index=task_index, tasks=tasks)


def _images(
    image: np.ndarray, inputs: Inputs, mean_colour: np.ndarray, *, first_N: np.ndarray, other_N: np.ndarray
) -> np.ndarray:
    match inputs.image:
        case "seen":
            return image
        case "blank":
            return np.broadcast_to(mean_colour, image.shape).copy()
        case "first-frame":
            return image[first_N]
        case "other-episode":
            return image[other_N]
        case "noise":
            raise AssertionError("a plan lets no policy train on noise")
        case _:
            assert_never(inputs.image)


def _states(state_NS: np.ndarray, inputs: Inputs, proprioception: Proprioception, *, other_N: np.ndarray) -> np.ndarray:
    match inputs.proprioception:
        case "given":
            return proprioception.scaled(state_NS)
        case "zero":
            return np.zeros_like(state_NS)
        case "other-episode":
            return proprioception.scaled(state_NS[other_N])
        case _:
            assert_never(inputs.proprioception)


def _told(inputs: Inputs, said: Sequence[str], index: int, *, tasks: Sequence[str], random: np.random.Generator) -> str:
    """What the policy is told in episode `index` of those whose sentences are `said`."""
    match inputs.instruction:
        case "given":
            return said[index]
        case "blank":
            return ""
        case "scrambled":
            return " ".join(random.permutation(said[index].split()))
        case "other-episode":
            return _other(said, index)
        case "task-id":
            return _task_id(said[index], tasks)
        case "wrong" | "paraphrased":
            raise AssertionError("the scene is known at play only")
        case _:
            assert_never(inputs.instruction)


def _other(said: Sequence[str], index: int) -> str:
    """The next episode's sentence that is another one. Raises UserError where all are the same."""
    for step in range(1, len(said)):
        if (other := said[(index + step) % len(said)]) != said[index]:
            return other
    raise UserError("All episodes have the same instruction: none can be given that of another one.")


def _task_id(sentence: str, tasks: Sequence[str]) -> str:
    """An opaque name for one of the sentences that were trained on: the same information, none of the words."""
    if sentence not in tasks:
        raise UserError(
            f"A policy that knows its tasks by number was trained on {len(tasks)} of them, and {sentence!r} is none; "
            "collect more demonstrations."
        )
    return f"task {sorted(tasks).index(sentence)}"


@dataclass(frozen=True)
class Interventions:
    """The same at play: what each episode's policy is told, and shown.

    `tasks` are the sentences that the policy was trained on; `manifest` all episodes that are played.
    `proprioception` is None for a policy that is not told where the robot is.
    """

    inputs: Inputs
    mean_colour: np.ndarray
    tasks: Sequence[str]
    manifest: Sequence[Start]
    proprioception: Proprioception | None = None

    def told(self, env: BenchmarkEnv, start: Start, instruction: str) -> str:
        """What the policy is told in the episode of `start`, whose own sentence is `instruction`."""
        if self.inputs.instruction == "wrong":
            return env.misnamed(start)
        if self.inputs.instruction == "paraphrased":
            return env.paraphrased(start)
        if self.inputs.instruction != "other-episode":
            return _told(self.inputs, [instruction], 0, tasks=self.tasks, random=random_of(start))
        said = [env.sentence(other) for other in self.manifest]
        return _other(said, self.manifest.index(start))

    def still(self, env: BenchmarkEnv, start: Start) -> np.ndarray | None:
        """The one picture `[H, W, 3]` that the policy is shown all along; None where it is shown what happens."""
        match self.inputs.image:
            case "seen" | "noise":
                return None
            case "blank":
                return np.broadcast_to(self.mean_colour, (env.height, env.width, 3))
            case "first-frame":
                return env.first_frame(start)
            case "other-episode":
                return env.first_frame(self._next(start))
            case _:
                assert_never(self.inputs.image)

    def shown(self, pixels_HWC: np.ndarray, still: np.ndarray | None, random: np.random.Generator) -> np.ndarray:
        """What the policy is shown of one frame; noise is drawn anew for each."""
        if self.inputs.image == "noise":
            return random.integers(0, 256, pixels_HWC.shape, dtype=np.uint8)
        return pixels_HWC if still is None else still

    def unmoved(self, env: BenchmarkEnv, fresh: Mapping[int, Start]) -> Mapping[int, np.ndarray]:
        """The one state `[S]` that is told all along where these episodes are about to begin, by row.

        None of them where the policy is told where the robot is. Rows may be put elsewhere on the way: begin after it.
        """
        if self.proprioception is None or not fresh:
            return {}
        match self.inputs.proprioception:
            case "given":
                return {}
            case "zero":
                return {row: np.zeros(self.proprioception.width, np.float32) for row in fresh}
            case "other-episode":
                others = [self._next(fresh[row]) if row in fresh else None for row in range(env.num_envs)]
                observation, _ = env.reset(options={"starts": others})
                return {row: self.proprioception.scaled(observation["agent_pos"][row]) for row in fresh}
            case _:
                assert_never(self.inputs.proprioception)

    def _next(self, start: Start) -> Start:
        if len(self.manifest) < 2:
            raise UserError("The protocol plays one episode: it cannot be given another one's picture or state.")
        return self.manifest[(self.manifest.index(start) + 1) % len(self.manifest)]


def random_of(start: Start) -> np.random.Generator:
    """Draws of an episode's interventions: a function of its start alone."""
    return np.random.default_rng([int(digest(asdict(start)), 16), 12])
