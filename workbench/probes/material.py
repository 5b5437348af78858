"""What encoders are probed on: frames that no run has seen, and what is to be read from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.collect import collect, open_data
from workbench.data.contract import Frames
from workbench.data.lerobot import Dataset, open_dataset
from workbench.errors import UserError
from workbench.probes.linear import Parts, Target, split
from workbench.recipes import Data, Expert, kept_aside
from workbench.record import collected_folder
from workbench.scene import COLOURS, DEPTH, THINGS, Scenes, read_scenes

# N frames  D values  S values a side of a depth map

FRAMES = 4
"""Frames of an episode, evenly spread: things hardly move within one, so that more frames show few more places."""
FEWEST = 20
"""Episodes below which a part would be a handful."""
Sought = tuple[np.ndarray, np.ndarray | None]
"""Values [N, D], and bool [N] where not every frame has them."""


@dataclass(frozen=True, eq=False)
class Material:
    """The N rows of `frames` that are looked at, and what is read from them; `parts` keep episodes whole."""

    frames: Frames
    row_N: np.ndarray
    parts: Parts
    targets: Mapping[str, tuple[Target, ...]]

    @property
    def image_NHWC(self) -> np.ndarray:
        """uint8."""
        return self.frames.image[self.row_N]

    @property
    def episode_N(self) -> np.ndarray:
        return self.frames.episode[self.row_N]

    @property
    def privileged(self) -> bool:
        """Whether the data say what only a simulator knows."""
        return knows(self.frames)

    def count(self, part_N: np.ndarray) -> int:
        """Episodes of a part."""
        return len(np.unique(self.episode_N[part_N]))


def probed_data(data: Data, episodes: int) -> Data:
    """Demonstrations of the same tasks from initial states of the selection split; of a folder the folder itself."""
    if isinstance(data, Expert):
        return kept_aside(data, episodes)
    return data


def gather(
    root: Path, data: Data, episodes: int, progress: Callable[[int, int], None] = lambda done, total: None
) -> Material:
    """Read the data, after collecting them under `root` where that was not done before.

    Of a folder, `episodes` are drawn. Raises UserError where there are too few.
    """
    generator = np.random.default_rng(11)
    if isinstance(data, Expert):
        folder = collected_folder(root, data)
        dataset = open_dataset(folder if folder.exists() else collect(data, folder, progress=progress))
        chosen = np.arange(len(dataset.episodes))
    else:
        dataset = open_data(root, data)
        chosen = _drawn(dataset, episodes, generator)
    if len(chosen) < FEWEST:
        raise UserError(f"{dataset.root} has {len(chosen)} episodes; probes take at least {FEWEST}.")
    return material(dataset.frames(chosen.tolist()), generator)


def material(frames: Frames, generator: np.random.Generator) -> Material:
    """Some frames of each episode; what only a simulator knows is read where the data have it."""
    share = np.linspace(0, 1, FRAMES)
    ends = zip(np.unique(frames.first_N), np.unique(frames.last_N), strict=True)
    rows = np.concatenate([np.unique((first + share * (last - first)).round()) for first, last in ends]).astype(int)
    episode_N = frames.episode[rows]
    parts = split(episode_N, generator)
    known: dict[str, list[Sought]] = {"state": [(frames.state[rows], None)], "action": [(frames.action[rows], None)]}
    if knows(frames):
        known = _seen(read_scenes(frames).pick(rows)) | known
    targets = {name: _possible(wanted, parts, scaled=name != "depth") for name, wanted in known.items()}
    return Material(frames, rows, parts, {name: some for name, some in targets.items() if some})


def knows(frames: Frames) -> bool:
    """Whether frames carry the privileged columns."""
    return THINGS in frames.extra and DEPTH in frames.extra


def _drawn(dataset: Dataset, episodes: int, generator: np.random.Generator) -> np.ndarray:
    every = len(dataset.episodes)
    return np.sort(generator.permutation(every)[: min(every, episodes)])


def _seen(scenes: Scenes) -> dict[str, list[Sought]]:
    """No instruction is needed for any of it: a thing is named by its colour, which no other in its scene has."""
    places: list[Sought] = []
    for colour in range(len(COLOURS)):
        has_NM = scenes.colour_NM == colour
        at_N2 = scenes.at_NM2[np.arange(len(scenes)), has_NM.argmax(1)]
        places.append((at_N2, has_NM.any(1)))
    depth_ND = scenes.depth_NSS.reshape(len(scenes), -1)
    return {"places": places, "tip": [(scenes.tip_N2, None)], "depth": [(depth_ND, None)]}


def _possible(known: list[Sought], parts: Parts, *, scaled: bool) -> tuple[Target, ...]:
    """Without values that stay the same in a part. `scaled`: each value has variance 1 in the training part.

    Depth is not scaled: all of it is metres, and where only the table is seen a centimetre is much.
    """
    targets: list[Target] = []
    for values_ND, maybe_N in known:
        there_N = np.ones(len(values_ND), bool) if maybe_N is None else maybe_N
        if not all((part & there_N).any() for part in (parts.fit_N, parts.validation_N, parts.held_out_N)):
            continue
        spread_D = values_ND[parts.training_N & there_N].std(0)
        varies_D = (spread_D > 1e-6) & (values_ND[parts.held_out_N & there_N].std(0) > 1e-6)
        wanted_ND = values_ND[:, varies_D].astype(np.float64)
        if varies_D.any():
            targets.append(Target(wanted_ND / spread_D[varies_D] if scaled else wanted_ND, there_N))
    return tuple(targets)
