"""Behaviour cloning: what a batch of demonstrations is, and the loss of a policy on it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from workbench.actions import Actions
from workbench.backbones.contract import Backbone, Words
from workbench.data.contract import Frames
from workbench.data.statistics import STATISTICS, Normalisation, Statistics, denormalise, normalise
from workbench.heads.contract import Drawn
from workbench.policy import Policy
from workbench.training.pieces import Divided, Division, Piece


@dataclass(frozen=True)
class Batch:
    """B frames: uint8 images, words, action chunks in [-1, 1]; `padded_BK` marks steps beyond the episode's end.

    There are no images where `seen_BND` has what a frozen encoder sees in them. `drawn` is what the head would draw for
    these rows, where it was drawn before. `state_BS` is what a policy with proprioception is told.
    """

    image_BHWC: Tensor | None = field(repr=False)
    words: Words = field(repr=False)
    action_BKA: Tensor = field(repr=False)
    padded_BK: Tensor = field(repr=False)
    frames: tuple[int, ...]
    seen_BND: Tensor | None = field(default=None, repr=False)
    drawn: Drawn | None = field(default=None, repr=False)
    state_BS: Tensor | None = field(default=None, repr=False)

    def to(self, device: torch.device) -> "Batch":
        return Batch(
            None if self.image_BHWC is None else self.image_BHWC.to(device),
            self.words.to(device),
            self.action_BKA.to(device),
            self.padded_BK.to(device),
            self.frames,
            None if self.seen_BND is None else self.seen_BND.to(device),
            None if self.drawn is None else tuple(each.to(device) for each in self.drawn),
            None if self.state_BS is None else self.state_BS.to(device),
        )


class ActionScale:
    """Raw actions to the policy's space and back: the arm by q01/q99 to [-1, 1]; a binary gripper (last) stays a sign.

    A gripper that is not binary is one of the arm's numbers.
    """

    def __init__(self, statistics: Statistics, *, binary_gripper: bool = True):
        self.actions = Actions(len(statistics.mean), binary_gripper)
        arm = {name: getattr(statistics, name)[: self.actions.regressed] for name in STATISTICS}
        self.arm = Statistics(count=statistics.count, **arm)

    def to_policy(self, action: np.ndarray) -> np.ndarray:
        """float32 `[..., A]`; arm values beyond the quantiles are clipped."""
        arm, gripper = np.split(action, [self.actions.regressed], axis=-1)
        arm = normalise(arm, self.arm, Normalisation.QUANTILES).clip(-1, 1)
        return np.concatenate([arm, np.sign(gripper)], axis=-1).astype(np.float32)

    def to_world(self, arm_BKA: np.ndarray, closed_BK: np.ndarray | None) -> np.ndarray:
        """The policy's arm in [-1, 1] and its decision (bool) on a binary gripper as raw actions `[B, K, A]`."""
        arm = denormalise(arm_BKA, self.arm, Normalisation.QUANTILES)
        return arm if closed_BK is None else np.concatenate([arm, np.where(closed_BK, 1.0, -1.0)[..., None]], axis=-1)


def shuffled_rows(count: int, size: int, *, seed: int, skip: int = 0) -> Iterator[Tensor]:
    """Endless batches `[size]` of `count` rows, shuffled anew each epoch; one may cross from an epoch into the next.

    `skip` leaves the first batches out: the others are the same.
    """
    random = np.random.default_rng(seed)
    order = np.empty(0, np.int64)
    for _ in range(-(-skip * size // count)):
        order = random.permutation(count)
    order = order[len(order) - (-skip * size % count) :]
    while True:
        while len(order) < size:
            order = np.concatenate([order, random.permutation(count)])
        rows, order = torch.from_numpy(order[:size]), order[size:]
        yield rows


class Demonstrations:
    """Frames in memory, tokenised once; `batches(seed)` shuffles them anew each epoch, the same for the same seed.

    `skip` leaves the first batches out. With `proprioception` the frames' states are in the batches, as they are.
    """

    def __init__(
        self, frames: Frames, scale: ActionScale, *, backbone: Backbone, chunk: int, proprioception: bool = False
    ):
        action, padded = frames.chunks(chunk)
        self.image = torch.from_numpy(frames.image)
        self.action = torch.from_numpy(scale.to_policy(action))
        self.padded = torch.from_numpy(padded)
        self.task = torch.from_numpy(frames.task_index)
        self.words = backbone.tokenize(frames.tasks)
        self.state = torch.from_numpy(frames.state) if proprioception else None

    def batches(
        self, size: int, *, seed: int, skip: int = 0, seen: Callable[[Tensor], Tensor] | None = None
    ) -> Iterator[Batch]:
        """`seen` gives what a frozen encoder sees in the frames of a batch, instead of their images."""
        for rows in shuffled_rows(len(self.image), size, seed=seed, skip=skip):
            yield self._batch(rows, seen)

    def divided(
        self,
        division: Division,
        size: int,
        *,
        seed: int,
        skip: int = 0,
        seen: Callable[[Tensor], Tensor] | None = None,
    ) -> Iterator[Divided]:
        """The same batches in pieces."""
        rows_of = shuffled_rows(len(self.image), size, seed=seed, skip=skip)
        for step, rows in enumerate(rows_of, start=skip):
            drawn = division.draw(self.action[rows])
            real_BK = ~self.padded[rows]
            pieces: list[Piece] = []
            for number in division.own:
                mine = slice(number, None, division.of)
                batch = replace(self._batch(rows[mine], seen), drawn=tuple(each[mine] for each in drawn))
                share = float(real_BK[mine].sum() / real_BK.sum().clamp(min=1))
                pieces.append(Piece(batch, share, _seed(seed, step, number)))
            yield Divided(tuple(pieces), tuple(rows.tolist()))

    def _batch(self, rows: Tensor, seen: Callable[[Tensor], Tensor] | None) -> Batch:
        words = self.task[rows]
        return Batch(
            None if seen else self.image[rows],
            Words(self.words.ids_BT[words], self.words.mask_BT[words]),
            self.action[rows],
            self.padded[rows],
            tuple(rows.tolist()),
            seen(rows) if seen else None,
            state_BS=None if self.state is None else self.state[rows],
        )


def _seed(*parts: int) -> int:
    """A seed for torch that is as good as any other, and the same for the same parts."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def imitation_loss(policy: Policy, batch: Batch) -> Mapping[str, Tensor]:
    """The head's loss on the batch's demonstrated actions, where the head is."""
    seen, told = batch.seen_BND, (batch.words, batch.state_BS)
    walk = policy(batch.image_BHWC, *told) if seen is None else policy.walk_on(seen, *told)
    there = walk.hidden_BE.device
    drawn = None if batch.drawn is None else tuple(each.to(there) for each in batch.drawn)
    return policy.head.loss(walk.hidden, batch.action_BKA.to(there), batch.padded_BK.to(there), drawn)
