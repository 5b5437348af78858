from pathlib import Path

import pytest
import torch
from conftest import SmallRun
from torch import nn

from workbench.build import build
from workbench.errors import UserError
from workbench.record import file_hash, write_json
from workbench.spec import SLOTS, Slot, Spec
from workbench.weights import WEIGHTS, load_slot, read_weights, save_weights


class Two(nn.Module):
    """Two slots of different widths."""

    def __init__(self) -> None:
        super().__init__()
        self.vision, self.head = nn.Linear(4, 3), nn.Linear(3, 2)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run's folder, as far as its weights are concerned."""
    folder = tmp_path / "0123456789ab"
    folder.mkdir()
    write_json(folder / "result.json", {"weights_sha256": save_weights(Two(), folder)})
    return folder


def test_weights_come_back_bit_for_bit(tmp_path: Path):
    module = Two()
    write_json(tmp_path / "result.json", {"weights_sha256": save_weights(module, tmp_path)})
    read = read_weights(tmp_path)
    assert set(read) == set(module.state_dict())
    assert all(torch.equal(read[name], tensor) for name, tensor in module.state_dict().items())
    assert sorted(path.name for path in tmp_path.iterdir()) == [WEIGHTS, "result.json"]


@pytest.mark.parametrize("place", [3, -5])
def test_one_flipped_bit_is_refused(run: Path, place: int):
    content = bytearray((run / WEIGHTS).read_bytes())
    content[place] ^= 1
    (run / WEIGHTS).write_bytes(content)
    with pytest.raises(UserError, match=rf"{run / WEIGHTS} is truncated or was changed.* Delete {run} and run again"):
        read_weights(run)


def test_truncated_weights_are_refused(run: Path):
    (run / WEIGHTS).write_bytes((run / WEIGHTS).read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"{run / WEIGHTS} is truncated"):
        read_weights(run)


def test_weights_that_are_no_safetensors_are_refused_even_where_the_hash_is_theirs(run: Path):
    (run / WEIGHTS).write_bytes(b"not tensors")
    write_json(run / "result.json", {"weights_sha256": file_hash(run / WEIGHTS)})
    with pytest.raises(UserError, match=rf"{run / WEIGHTS} is missing or truncated"):
        read_weights(run)


def test_a_truncated_record_of_weights_is_refused(run: Path):
    (run / "result.json").write_text('{"weights_sha')
    with pytest.raises(UserError, match=r"result\.json is truncated"):
        read_weights(run)


@pytest.mark.parametrize("name", [WEIGHTS, "result.json"])
def test_a_run_that_is_not_finished_has_no_weights(run: Path, name: str):
    (run / name).unlink()
    with pytest.raises(UserError, match=rf"The run {run.name} in {run.parent} has no finished weights"):
        read_weights(run)


def test_a_failed_run_has_no_weights_and_its_failure_is_told(run: Path):
    write_json(run / "result.json", {"error": "NotFinite: loss at step 3"})
    with pytest.raises(UserError, match="has failed and left no weights: NotFinite: loss at step 3"):
        read_weights(run)


def test_a_slot_of_another_shape_is_refused(run: Path):
    with pytest.raises(UserError, match=rf"The vision slot of run {run.name} does not fit this model"):
        load_slot(nn.Linear(5, 3), "vision", run)
    with pytest.raises(UserError, match=r"does not fit this model.*Missing key"):
        load_slot(nn.Sequential(nn.Linear(4, 3)), "vision", run)


def test_a_slot_that_starts_from_a_run_has_its_weights_and_the_others_have_not(small_run: SmallRun):
    spec = Spec(vision=Slot(weights=f"run:{small_run.record.id}"))
    trained = read_weights(small_run.record.folder)
    policy, _ = build(spec, 0, chunk=small_run.plan.budget.chunk, root=small_run.root)
    same = {
        slot: all(torch.equal(trained[f"{slot}.{key}"], value) for key, value in found.items())
        for slot in SLOTS
        if (found := policy.get_submodule(slot).state_dict())
    }
    assert same == {"vision": True, "projector": False, "embeddings": False, "language": False, "head": False}


def test_a_full_disk_is_an_oserror_that_leaves_the_old_weights(tiny_disk: Path):
    before = save_weights(Two(), tiny_disk)
    with pytest.raises(OSError, match="No space left on device"):
        save_weights(nn.Linear(1000, 1000), tiny_disk)
    assert file_hash(tiny_disk / WEIGHTS) == before
