"""A few played episodes as MP4: replayed from the stored actions and filmed larger than the policy saw them."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from workbench.benchmarks.tabletop.env import FPS, TabletopVectorEnv
from workbench.evaluate import Played

SIDE = 256
FILMED = 2
"""Episodes a run: the first of its manifest."""


def write_films(played: list[Played], folder: Path) -> None:
    """MP4 files of the first of `played`, named after task, initial state and outcome."""
    folder.mkdir(exist_ok=True)
    env = TabletopVectorEnv(1, side=SIDE)
    try:
        for one in played[:FILMED]:
            ending = "success" if one.outcome.success else "failure"
            _write(folder / f"{one.start.task}-{one.start.initial_state:03d}-{ending}.mp4", _frames(env, one))
    finally:
        env.close()


def _frames(env: TabletopVectorEnv, one: Played) -> Iterator[np.ndarray]:
    observation, _ = env.reset(options={"starts": [one.start]})
    yield observation["pixels"][0]
    for action in one.actions:
        observation, *_ = env.step(action[None])
        yield observation["pixels"][0]


def _write(path: Path, frames: Iterator[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "23", "preset": "veryfast"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
