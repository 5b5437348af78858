"""A few played episodes as MP4: replayed from the stored actions and filmed larger than the policy saw them."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from workbench.benchmarks.contract import Protocol
from workbench.benchmarks.env import BenchmarkEnv
from workbench.benchmarks.registry import open_film_env
from workbench.evaluate import Played

FILMED = 2
"""Episodes a run: the first of its manifest."""


def write_films(played: list[Played], protocol: Protocol, folder: Path) -> None:
    """MP4 files of the first of `played`, named after task, initial state and outcome."""
    folder.mkdir(exist_ok=True)
    env = open_film_env(protocol)
    try:
        for one in [one for one in played[:FILMED] if not one.outcome.fault]:
            ending = "success" if one.outcome.success else "failure"
            path = folder / f"{one.start.task}-{one.start.initial_state:03d}-{ending}.mp4"
            _write(path, _frames(env, one), env)
    finally:
        env.close()


def _frames(env: BenchmarkEnv, one: Played) -> Iterator[np.ndarray]:
    observation, _ = env.reset(options={"starts": [one.start]})
    yield observation["pixels"][0]
    for action in one.actions:
        observation, *_ = env.step(action[None])
        yield observation["pixels"][0]


def _write(path: Path, frames: Iterator[np.ndarray], env: BenchmarkEnv) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(env.rules.fps), options={"crf": "23", "preset": "veryfast"}
        )
        stream.width, stream.height = env.width, env.height
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
