"""Checkpoints on disk: whole or refused by name, the last two, and not too many."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from workbench.training.checkpoint import Checkpoint, Keeper, generators, restore_generators


def checkpoint(step: int, size: int = 100) -> Checkpoint:
    tensors = {"module.weight": torch.full((size,), float(step)), "module.count": torch.tensor(step)}
    return Checkpoint(step, tensors | {"optimiser.0.step": torch.tensor(1.0)}, {"seen": ["weight"], "step": step})


def kept(run: Path, *steps: int) -> Keeper:
    keeper = Keeper(run)
    for step in steps:
        keeper.keep(checkpoint(step))
    return keeper


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def anything(found: Checkpoint) -> str:
    return ""


def test_the_newest_comes_back_as_it_was(tmp_path: Path):
    kept(tmp_path, 3, 12)
    found = Keeper(tmp_path).latest(anything)
    assert found is not None and found.step == 12 and found.facts == {"seen": ["weight"], "step": 12}
    assert {name: value.tolist() for name, value in found.under("module").items()} == {
        "weight": [12.0] * 100,
        "count": 12,
    }
    assert list(found.under("optimiser")) == ["0.step"]


def test_there_is_none_before_the_first(tmp_path: Path):
    assert Keeper(tmp_path).latest(anything) is None


def test_the_last_two_are_kept_and_nothing_half_written(tmp_path: Path):
    kept(tmp_path, 9, 99, 100, 101)
    assert [name.partition("-")[0] for name in names(tmp_path)] == ["00000100", "00000101"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def one_bit_flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, emptied, one_bit_flipped])
def test_a_damaged_one_is_named_and_removed_and_the_one_before_it_is_used(
    tmp_path: Path, damage: Callable[[Path], None]
):
    kept(tmp_path, 1, 2)
    newest = tmp_path / "checkpoints" / names(tmp_path)[1]
    damage(newest)
    keeper = Keeper(tmp_path)
    found = keeper.latest(anything)
    assert found is not None and found.step == 1
    assert keeper.refused == [f"{newest.name}: torn or altered"] and not newest.exists()


def test_where_all_are_damaged_there_is_none(tmp_path: Path):
    kept(tmp_path, 1, 2)
    for name in names(tmp_path):
        cut(tmp_path / "checkpoints" / name)
    keeper = Keeper(tmp_path)
    assert keeper.latest(anything) is None and len(keeper.refused) == 2 and names(tmp_path) == []


def test_one_that_does_not_fit_is_named_with_the_reason(tmp_path: Path):
    kept(tmp_path, 1, 2)
    keeper = Keeper(tmp_path)
    found = keeper.latest(lambda found: "other code" if found.step == 2 else "")
    assert found is not None and found.step == 1
    assert [said.partition(": ")[2] for said in keeper.refused] == ["other code"]


def test_what_a_killed_process_left_half_written_is_no_checkpoint(tmp_path: Path):
    kept(tmp_path, 1)
    (tmp_path / "checkpoints" / "next.tmp").write_bytes(b"half")
    found = Keeper(tmp_path).latest(anything)
    assert found is not None and found.step == 1


def test_writing_takes_the_share_of_the_time_that_it_may(tmp_path: Path):
    keeper = Keeper(tmp_path, share=1e-9, first_seconds=0)
    assert keeper.due()
    keeper.keep(checkpoint(1))
    assert not keeper.due()  # a billion times what it took to write
    often = Keeper(tmp_path, share=1e9, first_seconds=0)
    often.keep(checkpoint(2))
    assert often.due() and not Keeper(tmp_path, first_seconds=60).due()


def test_a_full_disk_is_told_and_what_was_kept_stays(tiny_disk: Path):
    keeper = kept(tiny_disk, 1)
    with pytest.raises(OSError) as told:
        keeper.keep(checkpoint(2, size=1_000_000))
    assert told.value.errno == errno.ENOSPC
    found = Keeper(tiny_disk).latest(anything)
    assert found is not None and found.step == 1


def test_the_global_generator_goes_on_where_it_was():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        torch.rand(5)
        states = generators([torch.device("cpu")])
        wanted = torch.rand(7)
        torch.manual_seed(4)
        restore_generators(states)
        assert torch.equal(torch.rand(7), wanted)
