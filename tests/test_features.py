"""What a frozen encoder sees is kept and shared, and nobody can tell by the bits."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from encoders.contract import Encoder
from workbench.actions import Actions
from workbench.benchmarks.contract import Protocol
from workbench.build import build
from workbench.collect import collect
from workbench.compute import Place, place
from workbench.execute import execute
from workbench.plan import Budget, Compute, Finetune, run_id
from workbench.policy import Policy
from workbench.recipes import Expert
from workbench.record import NO_CACHE, Record, collected_folder, open_record
from workbench.spec import Frozen, Slot, Spec
from workbench.training import features
from workbench.training.adapt import adapt
from workbench.training.features import Features, encoded, open_features

FROZEN = Spec(vision=Slot(tune=Frozen()))
DATA = Expert.model_validate({"tasks": ["reach"], "episodes": 4})
PLAN = Finetune(
    spec=FROZEN,
    data=DATA,
    budget=Budget(steps=6, batch=4, warmup_steps=1),
    protocol=Protocol.model_validate({"tasks": ["reach"], "initial_states": 1}),
)
BATCH = 4


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    collect(DATA, collected_folder(root, DATA))
    return root


def done(plan: Finetune, root: Path) -> Record:
    execute(plan, root)
    record = open_record(root, run_id(plan))
    assert record.error is None
    return record


def losses(record: Record) -> list[float]:
    return [row["train/loss"] for row in record.log()]


def test_with_and_without_it_training_gives_the_same_bits(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    root = Path(shutil.copytree(source, tmp_path / "with"))
    kept = [done(PLAN.model_copy(update={"seed": seed}), root) for seed in range(3)]
    monkeypatch.setenv(NO_CACHE, "1")
    root = Path(shutil.copytree(source, tmp_path / "without"))
    without = [done(PLAN.model_copy(update={"seed": seed}), root) for seed in range(3)]
    assert not (root / "features").exists() and "features" not in without[0].result
    for one, other in zip(kept, without, strict=True):
        assert losses(one) == losses(other)
        assert one.result["weights_sha256"] == other.result["weights_sha256"]
    frames = sum(1 for _ in range(6 * BATCH))
    counts = [record.result["features"] for record in kept]
    assert counts[0]["computed"] + counts[0]["reused"] >= frames and counts[2]["reused"] > counts[0]["reused"]


def test_an_encoder_reads_each_frame_once_whatever_is_asked_for(frozen: Policy, images: Tensor, tmp_path: Path):
    kept, generator = opened(frozen, images, tmp_path), torch.Generator().manual_seed(0)
    batches = [torch.randint(len(images), (BATCH,), generator=generator) for _ in range(40)]
    sizes = list[int]()
    watch = frozen.vision.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    found = [kept(rows) for rows in batches]
    watch.remove()
    assert sizes == [BATCH] * 5  # 18 frames, each time as many as a batch of the training has
    assert all(
        torch.equal(one, encoded(frozen.vision, images[rows], spot())) for one, rows in zip(found, batches, strict=True)
    )
    assert kept.computed == len(images)
    again = opened(frozen, images, tmp_path)
    again(torch.arange(BATCH))
    assert (again.computed, again.reused) == (0, BATCH)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (18, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def frozen() -> Policy:
    return policy(FROZEN)


def policy(spec: Spec, seed: int = 0) -> Policy:
    made, _ = build(spec, seed, chunk=2, root=Path(), actions=Actions(7, True))
    adapt(made, spec, seed=seed)
    return made


def spot() -> Place:
    return place(Compute(device="cpu"))


def opened(policy: Policy, images: Tensor, root: Path, **changes: Any) -> Features:
    found = open_features(root, policy, images, **{"batch": BATCH, "spot": spot(), **changes})
    assert found is not None
    return found


def file_of(root: Path) -> Path:
    [path] = (root / "features").iterdir()
    return path


@pytest.mark.parametrize("where", ["checksum", "row", "end"])
def test_a_damaged_row_is_computed_again(frozen: Policy, images: Tensor, tmp_path: Path, where: str):
    rows = torch.tensor([0, 5, 9, 17])
    kept = opened(frozen, images, tmp_path)
    for first in range(0, 18, 2):
        kept(torch.arange(first, first + 4) % 18)
    path, wanted = file_of(tmp_path), encoded(frozen.vision, images[rows], spot())
    content = bytearray(path.read_bytes())
    content[{"checksum": 0, "row": 1000, "end": len(content) - 1}[where]] ^= 4
    path.write_bytes(content)
    again = opened(frozen, images, tmp_path)
    assert torch.equal(again(rows), wanted) and again.computed == 1
    assert opened(frozen, images, tmp_path)(rows).equal(wanted)


def test_a_truncated_file_is_filled_again(frozen: Policy, images: Tensor, tmp_path: Path):
    kept = opened(frozen, images, tmp_path)
    kept(torch.arange(4))
    path = file_of(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    rows = torch.arange(4)
    assert torch.equal(opened(frozen, images, tmp_path)(rows), encoded(frozen.vision, images[rows], spot()))


def test_what_is_stale_is_never_read(frozen: Policy, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Other weights, frames, sizes of a batch, precision or code: another file."""
    opened(frozen, images, tmp_path)
    other = policy(FROZEN.model_copy(update={"vision": Slot(weights="random", tune=Frozen())}), seed=1)
    opened(other, images, tmp_path)
    opened(frozen, images.flip(0), tmp_path)
    opened(frozen, images, tmp_path, batch=3)
    opened(frozen, images, tmp_path, spot=Place(torch.device("cpu"), torch.bfloat16))
    monkeypatch.setattr(features, "machine", lambda: {"revision": "another"})
    opened(frozen, images, tmp_path)
    assert len(list((tmp_path / "features").iterdir())) == 6


def test_an_encoder_that_is_trained_has_none(images: Tensor, tmp_path: Path):
    assert open_features(tmp_path, policy(Spec()), images, batch=BATCH, spot=spot()) is None
    assert not (tmp_path / "features").exists()


def test_what_would_be_too_large_is_not_kept(
    frozen: Policy, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(features, "LIMIT", 1000)
    assert open_features(tmp_path, frozen, images, batch=BATCH, spot=spot()) is None


class Neighbourly(Encoder):
    """Sees each frame in the light of those before it in the batch."""

    def __init__(self, card: Any):
        super().__init__(card)
        self.weight = nn.Parameter(torch.ones(1))

    @property
    def blocks(self) -> list[nn.Module]:
        return []

    def tokens(self, pixels_BCHW: Tensor) -> Tensor:
        mean_B = pixels_BCHW.mean(dim=(1, 2, 3)).cumsum(0)
        return mean_B[:, None, None].expand(-1, self.card.tokens, self.card.dim)


def test_an_encoder_that_gives_other_bits_beside_other_frames_has_none(images: Tensor, tmp_path: Path):
    strange = policy(FROZEN)
    strange.vision = Neighbourly(strange.vision.card)
    assert open_features(tmp_path, strange, images, batch=BATCH, spot=spot()) is None


def test_a_full_disk_ends_the_keeping_and_not_the_training(frozen: Policy, tiny_disk: Path):
    many = torch.randint(0, 256, (600, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    kept = opened(frozen, many, tiny_disk)
    for rows in torch.arange(600).view(-1, BATCH):
        assert torch.equal(kept(rows), encoded(frozen.vision, many[rows], spot()))
    assert not kept.kept
    kept.close()  # or the disk could not be taken away


@pytest.fixture(autouse=True)
def cache_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(NO_CACHE, raising=False)
    yield
