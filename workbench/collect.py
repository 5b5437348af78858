"""Demonstrations of a benchmark's scripted expert, written as a LeRobot v3 dataset."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from workbench.benchmarks.contract import SPLIT_SEEDS, Protocol, Start
from workbench.benchmarks.env import BenchmarkEnv
from workbench.benchmarks.registry import open_env
from workbench.data.contract import Episode
from workbench.data.dataset import Dataset
from workbench.data.formats import open_any
from workbench.data.lerobot import open_dataset
from workbench.data.lerobot_write import write_dataset
from workbench.errors import UserError
from workbench.recipes import Data, Expert, Folder
from workbench.record import collected_folder

DIGEST = "digest.txt"
"""Holds the digest of collected data; data from before it was written have nothing to be compared with."""
PATIENCE = 20
"""Episodes that may be played for each one that is kept: a noise that drowns the expert is said, not waited for."""


def collect(recipe: Expert, folder: Path, *, progress: Callable[[int, int], None] = lambda done, total: None) -> Path:
    """Play the expert and write `folder`; the same recipe, the same bits.

    A killed collection leaves nothing half-made. Raises `UserError` where the expert fails too often under the noise.
    """
    total = recipe.episodes * len(recipe.tasks)
    env = open_env(_played(recipe), 1)

    def counted() -> Iterator[Episode]:
        for done, episode in enumerate(_episodes(env, recipe), start=1):
            yield episode
            progress(done, total)

    try:
        write_dataset(
            folder,
            counted(),
            fps=env.rules.fps,
            robot_type=env.rules.robot,
            action_names=env.rules.actions,
            state_names=env.rules.state,
            extra_names=env.privileged_names() if recipe.privileged else {},
        )
    finally:
        env.close()
    (folder / DIGEST).write_text(open_dataset(folder).digest + "\n")
    return folder


def _played(recipe: Expert) -> Protocol:
    """What the expert plays."""
    shared = {name: getattr(recipe, name) for name in ("benchmark", "tasks", "camera", "render", "split")}
    return Protocol(**shared)


def open_data(root: Path, data: Data) -> Dataset:
    """The dataset that a plan names: collected before under `root`, or the user's own folder.

    Raises UserError where it is not what was collected, or planned with, any more.
    """
    if isinstance(data, Expert):
        folder = collected_folder(root, data)
        dataset = open_dataset(folder)
        if (folder / DIGEST).is_file() and (folder / DIGEST).read_bytes().strip() != dataset.digest.encode():
            raise UserError(f"{folder} was changed or damaged since it was collected. Delete it and run again.")
        return dataset
    dataset = open_any(Path(data.path).expanduser(), data.camera)
    if data.digest and dataset.digest != data.digest:
        raise UserError(f"The dataset {data.path} has changed since it was planned ({data.digest} → {dataset.digest}).")
    return dataset


def resolved(data: Data, *, state: int = 0) -> Data:
    """The same data; of a folder, with the digest of its content and the width of its actions filled in.

    Raises UserError where a policy is to be given so many numbers of the robot's `state`, and the folder has others.
    """
    if not isinstance(data, Folder):
        return data
    dataset = open_any(Path(data.path).expanduser(), data.camera)
    if state not in (0, len(dataset.state_names)):
        raise UserError(
            f"The robot's state has {len(dataset.state_names)} numbers in {dataset.root} "
            f"({', '.join(dataset.state_names)}), but the benchmark tells {state}: give other demonstrations, or leave "
            "base.proprioception out."
        )
    return data.model_copy(update={"digest": dataset.digest, "actions": len(dataset.action_names)})


def _episodes(env: BenchmarkEnv, recipe: Expert) -> Iterator[Episode]:
    for task in recipe.tasks:
        found, state = 0, 0
        while found < recipe.episodes:
            if state >= PATIENCE * (found + 1):
                raise UserError(
                    f"With noise {recipe.noise} and mishaps {recipe.mishaps:g} the expert solved "
                    f"{found} of {state} episodes of {task!r}; collect with less noise."
                )
            start = Start(task, state, SPLIT_SEEDS[recipe.split])
            state += 1
            if (episode := _demonstrate(env, start, recipe)) is not None:
                found += 1
                yield episode


def _demonstrate(env: BenchmarkEnv, start: Start, recipe: Expert) -> Episode | None:
    """One expert episode, or None where noise and mishaps made it fail."""
    random = np.random.default_rng([start.seed, start.initial_state, 7])
    chance = np.random.default_rng([start.seed, start.initial_state, 8])
    observation, info = env.reset(options={"starts": [start]})
    images, states, actions, known = [], [], [], []
    for _ in range(env.horizon(0)):
        action = env.expert_action(0)
        images.append(observation["pixels"][0])
        states.append(observation["agent_pos"][0])
        actions.append(action)
        if recipe.privileged:
            known.append(env.privileged(0))
        disturbed = action.copy()
        disturbed[:3] += random.normal(0.0, recipe.noise, 3)
        if chance.random() < recipe.mishaps:
            disturbed[:3] = chance.uniform(-1.0, 1.0, 3)
            disturbed[-1] = -1.0 if chance.random() < 0.5 else action[-1]
        observation, _, ended, _, info = env.step(disturbed[None])
        if info["is_success"][0]:
            return Episode(
                image=np.stack(images),
                state=np.stack(states).astype(np.float32),
                action=np.stack(actions).astype(np.float32),
                instruction=info["task_description"][0],
                extra={name: np.stack([step[name] for step in known]) for name in (known[0] if known else {})},
            )
        if ended[0]:
            break
    return None
