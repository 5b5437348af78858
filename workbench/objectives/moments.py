"""Moments of demonstrations, and what an objective may read of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from workbench.augmentation import UNCHANGED, Augmentation
from workbench.backbones.contract import Backbone, Words
from workbench.data.contract import Frames
from workbench.data.statistics import Normalisation, Statistics, normalise
from workbench.objectives.augmented import Augmented, draw_augmented
from workbench.scene import Scenes, read_depth, read_scenes
from workbench.training.imitate import ActionScale, shuffled_rows

# B moments  N frames  H, W pixels  K steps  A action dimensions  S state width, or values a side of a depth map


class Moments:
    """The frames of many episodes in memory; `batches(seed)` shuffles them anew each epoch, the same for a seed."""

    def __init__(self, frames: Frames, scale: ActionScale, *, state: Statistics, backbone: Backbone) -> None:
        self.frames = frames
        self.image = torch.from_numpy(frames.image)
        self.scale, self.actions = scale, scale.actions
        self.action = torch.from_numpy(scale.to_policy(frames.action))
        self.state = torch.from_numpy(normalise(frames.state, state, Normalisation.MEAN_STD).astype(np.float32))
        self.first, self.last = torch.from_numpy(frames.first_N), torch.from_numpy(frames.last_N)
        self.task = torch.from_numpy(frames.task_index)
        self.words = backbone.tokenize(frames.tasks)
        self.shuffled = {same: torch.from_numpy(_shuffled(frames.task_index, same)) for same in (True, False)}

    @cached_property
    def scenes(self) -> Scenes:
        """What is where in each frame. Raises UserError where the data do not say."""
        return read_scenes(self.frames)

    @cached_property
    def depth_NSS(self) -> np.ndarray:
        """Metres to each part of each frame. Raises UserError where the data do not say."""
        return read_depth(self.frames)

    def batches(
        self, size: int, *, seed: int, device: torch.device, augmentation: Augmentation = UNCHANGED, skip: int = 0
    ) -> Iterator["Signals"]:
        """Endless; `skip` leaves the first ones out.

        What `augmentation` changes is drawn from torch's global generator whenever a batch is asked for.
        """
        for rows in shuffled_rows(len(self.image), size, seed=seed, skip=skip):
            drawn = draw_augmented(augmentation, len(rows)) if augmentation != UNCHANGED else None
            yield Signals(self, rows, device, tuple(rows.tolist()), augmented=drawn)


@dataclass(frozen=True)
class Signals:
    """B moments, read where they are needed; everything comes on the device that is computed on."""

    source: Moments = field(repr=False)
    rows_B: Tensor = field(repr=False)
    device: torch.device = field(repr=False)
    frames: tuple[int, ...]
    augmented: Augmented | None = field(default=None, repr=False, kw_only=True)
    """How all pictures of each moment are changed alike, so that they stay comparable."""

    def _pictures(self, rows_B: Tensor) -> Tensor:
        image_BHWC = self.source.image[rows_B]
        return (self.augmented(image_BHWC) if self.augmented else image_BHWC).to(self.device)

    def _rows(self, steps: int) -> Tensor:
        """The same moments so many steps later, their episode's last frame at the most."""
        return torch.minimum(self.rows_B + steps, self.source.last[self.rows_B])

    def elsewhere(self, *, same_task: bool) -> "Signals":
        """Another moment for each, always the same one: of the same task, or of any. For controls without a signal."""
        return replace(self, rows_B=self.source.shuffled[same_task][self.rows_B])

    @property
    def image_BHWC(self) -> Tensor:
        """What is seen at each moment, uint8."""
        return self._pictures(self.rows_B)

    def later_BHWC(self, steps: int) -> Tensor:
        """What is seen so many steps later; the episode's last picture where it ends before."""
        return self._pictures(self._rows(steps))

    @property
    def goal_BHWC(self) -> Tensor:
        """The last picture of each moment's episode."""
        return self._pictures(self.source.last[self.rows_B])

    @property
    def start_BHWC(self) -> Tensor:
        """The first picture of each moment's episode."""
        return self._pictures(self.source.first[self.rows_B])

    def actions(self, steps: int) -> tuple[Tensor, Tensor]:
        """The next actions `[B, K, A]` in [-1, 1], and `[B, K]`, true past the episode's end (its last is repeated)."""
        wanted_BK = self.rows_B[:, None] + torch.arange(steps)
        last_B1 = self.source.last[self.rows_B][:, None]
        action_BKA = self.source.action[torch.minimum(wanted_BK, last_B1)]
        return action_BKA.to(self.device), (wanted_BK > last_B1).to(self.device)

    def backwards(self, steps: int, undo: Callable[[np.ndarray], np.ndarray]) -> Tensor:
        """What leads back from so many steps later, `[B, K, A]` in [-1, 1]: the actions between undone, last first.

        `undo` is given them as stored, `[B, K, A]`. Where fewer are left in the episode, the first is repeated.
        """
        left_B = self.source.last[self.rows_B] - self.rows_B
        back_BK = (left_B.clamp(max=steps)[:, None] - 1 - torch.arange(steps)).clamp(min=0)
        stored_BKA = self.source.frames.action[(self.rows_B[:, None] + back_BK).numpy()]
        return torch.from_numpy(self.source.scale.to_policy(undo(stored_BKA))).to(self.device)

    @property
    def state_BS(self) -> Tensor:
        """The robot's state, each value of mean 0 and standard deviation 1 over the data."""
        return self.source.state[self.rows_B].to(self.device)

    @property
    def progress_B(self) -> Tensor:
        """Share of the episode that is over, 0 … 1."""
        first_B, last_B = self.source.first[self.rows_B], self.source.last[self.rows_B]
        return ((self.rows_B - first_B) / (last_B - first_B).clamp(min=1)).float().to(self.device)

    @property
    def left_B(self) -> Tensor:
        """Steps to the episode's last picture, which has 0 left."""
        return (self.source.last[self.rows_B] - self.rows_B).to(self.device)

    @property
    def episode_B(self) -> Tensor:
        """A number for each moment's episode: equal numbers, same episode."""
        return self.source.first[self.rows_B].to(self.device)

    @property
    def task_B(self) -> Tensor:
        """A number for each moment's instruction."""
        return self.source.task[self.rows_B].to(self.device)

    @property
    def scenes(self) -> Scenes:
        """What is where in each picture. Raises UserError where the data do not say."""
        return self.source.scenes.pick(self.rows_B.numpy())

    @property
    def depth_BSS(self) -> Tensor:
        """How far away each part of each picture is, metres. Raises UserError where the data do not say."""
        return torch.from_numpy(self.source.depth_NSS[self.rows_B.numpy()]).to(self.device)

    @property
    def words(self) -> Words:
        """Each moment's instruction, tokenised as the policy reads it."""
        task_B = self.source.task[self.rows_B]
        return Words(self.source.words.ids_BT[task_B], self.source.words.mask_BT[task_B]).to(self.device)


def _shuffled(task_N: np.ndarray, same_task: bool) -> np.ndarray:
    """A moment for each moment: a permutation of all, or one within each task."""
    random = np.random.default_rng(17)
    if not same_task:
        return random.permutation(len(task_N))
    found = np.empty(len(task_N), np.int64)
    for task in np.unique(task_N):
        rows = np.flatnonzero(task_N == task)
        found[rows] = random.permutation(rows)
    return found
