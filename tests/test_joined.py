"""Data sets larger than memory: read in parts, their pictures in a file, and the same numbers come of it."""

import os
from pathlib import Path

import numpy as np
import pytest
import test_episodes_folder
from conftest import SmallRun
from demonstrations import episodes, write

from workbench.data import joined, lerobot
from workbench.data.formats import open_any
from workbench.data.lerobot import open_dataset
from workbench.errors import UserError
from workbench.training.ready import ready

CHOICES = ([0, 1, 2, 3], [3, 0, 2])
PICTURE = 6 * 9 * 3


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for one picture, and for eight to be read at once."""
    monkeypatch.setattr(joined, "IN_MEMORY", PICTURE)
    monkeypatch.setattr(lerobot, "AT_ONCE", 8 * PICTURE)


@pytest.mark.parametrize("chosen", CHOICES)
def test_in_parts_and_from_a_file_the_same_frames_come(chosen, tmp_path, little, monkeypatch):
    dataset = open_dataset(write(tmp_path / "demos", episodes()))
    parts = [sorted(set(block.episode.tolist()), key=chosen.index) for block in dataset.blocks(chosen)]
    assert len(parts) > 1 and sum(parts, []) == chosen
    apart = dataset.frames(chosen)
    monkeypatch.undo()
    whole = dataset.frames(chosen)
    assert isinstance(apart.image, np.memmap) and not isinstance(whole.image, np.memmap)
    for name in ("image", "state", "action", "episode", "step", "task_index"):
        np.testing.assert_array_equal(getattr(apart, name), getattr(whole, name))
        assert getattr(apart, name).dtype == getattr(whole, name).dtype
    assert apart.tasks == whole.tasks


def test_a_format_that_is_read_by_episode_comes_the_same(tmp_path, little, monkeypatch):
    dataset = open_any(test_episodes_folder.write(tmp_path / "lab"))
    count = len(dataset.episodes)
    apart = dataset.frames(range(count))
    one_by_one = [dataset.episode(index) for index in range(count)]
    assert isinstance(apart.image, np.memmap)
    np.testing.assert_array_equal(apart.image, np.concatenate([one.image for one in one_by_one]))
    np.testing.assert_array_equal(apart.action, np.concatenate([one.action for one in one_by_one]))
    said = [apart.tasks[apart.task_index[row]] for row in np.flatnonzero(apart.step == 0)]
    assert said == [one.instruction for one in one_by_one]


def test_what_is_trained_from_a_file_are_the_same_batches(small_run: SmallRun, monkeypatch):
    taken = []
    for limit in (joined.IN_MEMORY, 0):
        monkeypatch.setattr(joined, "IN_MEMORY", limit)
        monkeypatch.setattr(lerobot, "AT_ONCE", limit)
        start = ready(small_run.plan, small_run.root)
        batch = next(iter(start.lesson.batches(0)))
        losses = start.lesson.loss(batch)
        taken.append((batch.frames, start.colour.tolist(), {name: part.item() for name, part in losses.items()}))
    assert taken[0] == taken[1]


def test_nothing_is_left_of_the_file(tmp_path, little, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    dataset = open_dataset(write(tmp_path / "demos", episodes()))
    frames = dataset.frames(range(4))
    assert os.listdir(tmp_path) == ["demos"] and frames.image.any()


def test_no_room_is_told_before_anything_is_read(tiny_disk: Path, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tiny_disk))
    monkeypatch.setattr(joined, "IN_MEMORY", 2**20)
    with pytest.raises(UserError, match=rf"pictures take .* GiB, for which {tiny_disk} has no room .*set TMPDIR"):
        joined.pictures(4 * 2**20, (3,))
    assert joined.pictures(2**10, (2**10,)).nbytes == 2**20


def test_pictures_of_two_sizes_are_refused(tmp_path, little):
    lab = test_episodes_folder.write(tmp_path / "lab")
    dataset = open_any(lab)
    blocks = [*dataset.blocks([0]), *open_dataset(write(tmp_path / "demos", episodes())).blocks([1])]
    with pytest.raises(UserError, match=r"The pictures of episode 1 are 9 x 6 pixels, others .* One dataset has one"):
        joined.joined(blocks, {0: dataset.episodes[0].length, 1: 1})
