"""What each control promises: nothing to see, nothing of the benchmark, nothing at all."""

from itertools import repeat
from pathlib import Path

import pytest
import torch
from torch import Tensor

from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.collect import collect, open_data
from workbench.execute import execute
from workbench.objectives import registry
from workbench.objectives.contract import Given
from workbench.objectives.facts import facts
from workbench.objectives.moments import Moments, Signals
from workbench.objectives.other_domain import (
    CELL,
    CELLS,
    DARKEST,
    DISCS,
    DOT,
    DOT_RADIUS,
    LEVELS,
    RADIUS,
    SIDE,
    Drawn,
    OtherDomain,
    draw,
)
from workbench.objectives.registry import build_objective
from workbench.objectives.rows import OBJECTIVES
from workbench.objectives.sham import Sham
from workbench.plan import Budget, Inject, run_id
from workbench.policy import Policy
from workbench.recipes import Expert
from workbench.record import Record, collected_folder, open_record
from workbench.spec import SLOTS, Frozen, Full, Slot, Spec
from workbench.training.imitate import ActionScale, imitation_loss
from workbench.training.train import train
from workbench.weights import read_weights

CPU = torch.device("cpu")
DATA = Expert(tasks=("reach",), episodes=8)
CHUNK = 4


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root that holds the demonstrations; tests add runs to it."""
    root = tmp_path_factory.mktemp("runs")
    collect(DATA, collected_folder(root, DATA))
    return root


def built() -> tuple[Policy, Backbone]:
    return build(Spec(), 0, chunk=CHUNK, root=Path())


@pytest.fixture(scope="module")
def given(root: Path) -> Given:
    """No test here trains its policy."""
    policy, backbone = built()
    dataset = open_data(root, DATA)
    frames, scale = dataset.frames(range(DATA.episodes)), ActionScale(dataset.statistics["action"])
    return Given(
        policy,
        backbone,
        Moments(frames, scale, state=dataset.statistics["observation.state"], backbone=backbone),
        CHUNK,
    )


def batch_of(moments: Moments, size: int = 16) -> Signals:
    return next(moments.batches(size, seed=0, device=CPU))


def loss_of(name: str, given: Given, signals: Signals) -> float:
    """The same draws at every call."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(5)
        return float(sum(build_objective(name, given, seed=0).loss(given.policy, signals).values()))


def seen_by(name: str, given: Given, signals: Signals) -> Tensor:
    """The pictures that the encoder is given."""
    shown: list[Tensor] = []
    hook = given.policy.vision.register_forward_pre_hook(lambda module, images: shown.append(images[0].clone()))
    loss_of(name, given, signals)
    hook.remove()
    return torch.cat(shown)


class Elsewhere(Signals):
    """The same moments with the pictures of others."""

    @property
    def image_BHWC(self) -> Tensor:
        return super().image_BHWC.flip(0)


@pytest.mark.parametrize(("name", "blind"), [("language-only", True), ("behaviour-cloning", False)])
def test_whose_pictures_they_are_changes_nothing_where_there_is_only_language(name: str, blind: bool, given: Given):
    batch = batch_of(given.moments)
    other = Elsewhere(batch.source, batch.rows_B, batch.device, batch.frames)
    assert not torch.equal(batch.image_BHWC, other.image_BHWC)
    assert (loss_of(name, given, batch) == loss_of(name, given, other)) == blind


def test_with_language_only_every_picture_is_the_data_s_mean_colour(given: Given):
    shown = seen_by("language-only", given, batch_of(given.moments))
    mean = given.moments.image.double().mean(dim=(0, 1, 2)).round().to(torch.uint8)
    assert shown.shape == (16, 64, 64, 3) and torch.equal(shown, mean.expand_as(shown))


def test_words_and_actions_still_count_with_language_only(given: Given):
    batch = batch_of(given.moments)
    other = Signals(batch.source, batch.rows_B.flip(0), batch.device, batch.frames)
    assert loss_of("language-only", given, batch) == pytest.approx(loss_of("language-only", given, other), rel=1e-5)
    mixed = Mixed(batch.source, batch.rows_B, batch.device, batch.frames)
    assert loss_of("language-only", given, batch) != pytest.approx(loss_of("language-only", given, mixed), rel=1e-4)


class Mixed(Signals):
    """The same moments with the actions of others."""

    def actions(self, steps: int) -> tuple[Tensor, Tensor]:
        action_BKA, padded_BK = super().actions(steps)
        return action_BKA.flip(0), padded_BK


class Unreadable:
    """Moments of which nothing can be read."""


def test_another_domain_reads_no_moment(given: Given):
    nothing = Signals(Unreadable(), torch.arange(16), CPU, tuple(range(16)))  # type: ignore[arg-type]
    assert loss_of("other-domain", given, nothing) == loss_of("other-domain", given, batch_of(given.moments))
    with pytest.raises(AttributeError):
        loss_of("behaviour-cloning", given, nothing)


def test_a_drawn_picture_has_every_disc_and_the_dot_whole_and_noise_around_them():
    drawn = _drawn(64, seed=0)
    for colour, radius in [*((colour, RADIUS) for colour in DISCS.values()), (DOT, DOT_RADIUS)]:
        painted_BSS = (drawn.image_BHWC == torch.tensor(colour, dtype=torch.uint8)).all(dim=-1)
        across = range(-radius, radius + 1)
        assert set(painted_BSS.sum(dim=(1, 2)).tolist()) == {
            sum(x**2 + y**2 <= radius**2 for x in across for y in across)
        }
    assert drawn.image_BHWC.shape == (64, SIDE, SIDE, 3) and CELLS * CELL <= SIDE
    edge = drawn.image_BHWC[:, -1]  # no cell reaches it
    assert set(edge.flatten().tolist()) == set(range(DARKEST, DARKEST + LEVELS))
    assert float(edge.float().mean()) == pytest.approx(127.5, abs=0.5)


def test_the_direction_is_that_from_the_dot_to_the_disc_that_is_named():
    drawn = _drawn(32, seed=1)
    colours = torch.tensor([*DISCS.values()], dtype=torch.uint8)
    for picture, asked, towards in zip(drawn.image_BHWC, drawn.asked_B, drawn.towards_B2, strict=True):
        disc, dot = _middle(picture, colours[asked]), _middle(picture, torch.tensor(DOT, dtype=torch.uint8))
        assert torch.allclose((disc - dot) / (disc - dot).norm(), towards, atol=1e-5)
    assert set(drawn.asked_B.tolist()) == set(range(len(DISCS)))


def _drawn(count: int, *, seed: int) -> Drawn:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return draw(count)


def _middle(picture: Tensor, colour: Tensor) -> Tensor:
    """x and y of the middle of what has this colour."""
    rows, columns = (picture == colour).all(dim=-1).nonzero().float().mean(dim=0)
    return torch.stack([columns, rows])


def test_in_the_other_domain_the_arm_goes_towards_the_named_disc_and_the_gripper_is_open(given: Given):
    objective = build_objective("other-domain", given, seed=0)
    assert isinstance(objective, OtherDomain)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        batch = objective.batch(tuple(range(32)), CHUNK)
    drawn = _drawn(32, seed=1)
    assert torch.equal(batch.image_BHWC, drawn.image_BHWC) and not batch.padded_BK.any()
    assert batch.action_BKA.shape == (32, CHUNK, 7) and torch.equal(batch.action_BKA[:, 0], batch.action_BKA[:, -1])
    assert torch.equal(batch.action_BKA[:, 0, :2], drawn.towards_B2)
    assert (batch.action_BKA[..., 2:-1] == 0).all() and (batch.action_BKA[..., -1] == -1).all()
    said = given.backbone.tokenize([f"reach the {list(DISCS)[asked]} disc" for asked in drawn.asked_B])
    assert torch.equal(batch.words.ids_BT, said.ids_BT) and torch.equal(batch.words.mask_BT, said.mask_BT)


def test_a_batch_of_another_domain_can_be_learned(given: Given):
    """The directions of 16 pictures, which are the same at each step."""
    policy, objective = built()[0], build_objective("other-domain", given, seed=0)
    assert isinstance(objective, OtherDomain)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        batch = objective.batch(tuple(range(16)), CHUNK)
    budget = Budget(steps=60, learning_rate=1e-3, warmup_steps=5)
    steps = train(policy, repeat(batch), loss=lambda batch: imitation_loss(policy, batch), budget=budget)
    found = [step.parts["arm"] for step in steps]
    arm_KA = batch.action_BKA[..., :-1]
    constant = float((arm_KA - arm_KA.median(dim=0).values).abs().mean())
    assert found[-1] < 0.5 * constant


def injected(root: Path, objective: str, **budget: float) -> Record:
    """A run of a few steps, as the engine carries it out."""
    others = {slot: Slot(tune=Frozen()) for slot in SLOTS if slot not in facts(objective).reaches}
    head = {"head": Slot(module="chunk-mlp", weights="random", tune=Frozen() if "head" in others else Full())}
    spec = Spec.model_validate({**others, **head})
    plan = Inject(objective=objective, spec=spec, data=DATA, budget=Budget(steps=5, batch=8, warmup_steps=1, **budget))
    execute(plan, root)
    return open_record(root, run_id(plan))


def still(record: Record) -> set[bool]:
    """Whether the tensors of the product's encoder are those it started from, bit for bit."""
    stored = read_weights(record.folder)
    before = build(Spec(), 0, chunk=CHUNK, root=Path())[0].vision.state_dict()
    assert {f"vision.{key}" for key in before} <= set(stored)
    return {torch.equal(stored[f"vision.{key}"], value) for key, value in before.items()}


def test_after_a_sham_every_tensor_of_the_encoder_is_as_it_was(root: Path):
    record = injected(root, "sham")
    assert record.error is None and still(record) == {True}
    (vision,) = (row for row in record.ledger()["rows"] if row["slot"] == "vision")
    assert vision["before"] == vision["after"] and vision["gradient"] == 0 < vision["tensors"]


def test_weight_decay_moves_what_a_sham_leaves(root: Path):
    record = injected(root, "sham", weight_decay=0.1)
    assert record.error is None and False in still(record)


def test_another_objective_that_has_no_gradient_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(registry.BUILDERS, "progress", lambda given: Sham())
    assert "LedgerBroken: trainable parameters have no gradient" in (injected(root, "progress").error or "")


def test_another_objective_that_does_not_move_the_encoder_is_refused(root: Path):
    error = injected(root, "state", learning_rate=1e-30).error or ""
    assert "LedgerBroken" in error and "'vision' is full, but its bits say otherwise" in error


def test_the_controls_are_declared_as_such():
    assert {name for name, one in OBJECTIVES.items() if one.still} == {"sham"}
    assert all(OBJECTIVES[name].control for name in ("language-only", "other-domain", "sham"))
