"""Every frame once an epoch, in random order, from a buffer of bounded size."""

import tracemalloc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from workbench.data.contract import Episode
from workbench.data.dataset import Dataset, EpisodeFacts, Vectors
from workbench.data.statistics import Statistics
from workbench.data.stream import stream
from workbench.errors import UserError

SIDE = 64
PICTURE = SIDE * SIDE * 3


class Made(Dataset):
    """Episodes that are made when asked for; the number in `action` says which frame of which episode it is."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.root, self.format, self.fps, self.digest = Path("made"), "made", None, ""
        self.cameras, self.camera, self.state_names, self.action_names = ("front",), "front", ("s",), ("a",)
        self.episodes = [EpisodeFacts(index, length, f"task {index}") for index, length in enumerate(lengths)]
        self.statistics: dict[str, Statistics] = {}
        self.asked: list[int] = []

    def vectors(self, index: int) -> Vectors:
        numbers = (100 * index + np.arange(self.episodes[index].length, dtype=np.float32))[:, None]
        return Vectors(state=-numbers, action=numbers)

    def episode(self, index: int) -> Episode:
        self.asked.append(index)
        vectors = self.vectors(index)
        image = np.full((len(vectors.action), SIDE, SIDE, 3), index, np.uint8)
        image[:, 0, 0, 0] = np.arange(len(image))
        return Episode(image, vectors.state, vectors.action, f"task {index}", {"tip": vectors.state * 2})


def places(dataset: Dataset, episodes: Sequence[int], *, buffer: int, seed: int) -> list[tuple[int, int]]:
    return [(moment.episode, moment.step) for moment in stream(dataset, episodes, buffer=buffer, seed=seed)]


@pytest.mark.parametrize("buffer", [1, 7, 1000])
def test_every_frame_comes_once_an_epoch_and_each_episode_is_decoded_once(buffer):
    dataset = Made([5, 1, 9, 4])
    assert Counter(places(dataset, [0, 1, 3], buffer=buffer, seed=0)) == Counter(
        (index, step) for index in (0, 1, 3) for step in range(dataset.episodes[index].length)
    )
    assert sorted(dataset.asked) == [0, 1, 3]


def test_the_seed_decides_the_order_and_the_global_generator_is_left_alone():
    dataset = Made([5, 6, 9, 4])
    before = np.random.get_state()[1].tolist()
    first = places(dataset, range(4), buffer=8, seed=1)
    assert np.random.get_state()[1].tolist() == before
    assert places(dataset, range(4), buffer=8, seed=1) == first
    assert places(dataset, range(4), buffer=8, seed=2) != first


def test_frames_of_an_episode_are_spread_by_the_buffer():
    dataset = Made([20] * 20)
    alone, mixed = (places(dataset, range(20), buffer=buffer, seed=0) for buffer in (1, 200))

    def neighbours(order: list[tuple[int, int]]) -> float:
        return float(np.mean([a[0] == b[0] for a, b in zip(order, order[1:], strict=False)]))

    assert neighbours(alone) > 0.9 and neighbours(mixed) < 0.2


def test_a_moment_is_its_frame_with_the_actions_to_come():
    dataset = Made([5, 3])
    for moment in stream(dataset, [0, 1], chunk=3, buffer=4, seed=0):
        last = dataset.episodes[moment.episode].length - 1
        wanted = [100 * moment.episode + min(moment.step + k, last) for k in range(3)]
        assert moment.action[:, 0].tolist() == wanted
        assert moment.padded.tolist() == [moment.step + k > last for k in range(3)]
        assert (moment.image[0, 0, 0], moment.image[1, 1, 1]) == (moment.step, moment.episode)
        assert moment.state.tolist() == [-wanted[0]] and moment.extra["tip"].tolist() == [-2 * wanted[0]]
        assert moment.instruction == f"task {moment.episode}"


def test_memory_holds_the_buffer_and_one_episode_however_many_there_are():
    dataset, buffer = Made([10] * 60), 30
    tracemalloc.start()
    try:
        seen = sum(1 for _ in stream(dataset, range(60), buffer=buffer, seed=0))
        live = tracemalloc.get_traced_memory()[1] / PICTURE
    finally:
        tracemalloc.stop()
    # One episode is held while the next is made, and one frame is on its way out.
    assert seen == 600 and buffer < live < buffer + 2 * 10 + 5


def test_episodes_that_there_are_not_are_an_error():
    with pytest.raises(UserError, match="no episode 2 in made. It has 2: 0 to 1"):
        next(stream(Made([1, 1]), [2], buffer=1, seed=0))
