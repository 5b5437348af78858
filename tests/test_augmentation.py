"""Changed pictures of injections: what is drawn, what it changes, and which plans may not have it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from demonstrations import episodes, write
from pydantic import ValidationError

from ablations.runs import injection_plan
from ablations.study import Study
from ablations.study_file import read_study
from workbench.augmentation import UNCHANGED, Augmentation
from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.collect import collect
from workbench.data.lerobot import open_dataset
from workbench.errors import UserError
from workbench.execute import execute
from workbench.objectives.augmented import MID_GREY, Augmented, draw_augmented
from workbench.objectives.moments import Moments, Signals
from workbench.plan import Budget, Inject, run_id
from workbench.recipes import Expert
from workbench.record import collected_folder, open_record
from workbench.spec import Frozen, Slot, Spec
from workbench.training.imitate import ActionScale

CPU = torch.device("cpu")
WIDE = Augmentation(shift=3, brightness=0.2, contrast=0.3)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return build(Spec(), 0, chunk=4, root=Path())[1]


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone) -> Moments:
    dataset = open_dataset(write(tmp_path_factory.mktemp("few") / "data", episodes()))
    scale = ActionScale(dataset.statistics["action"])
    frames = dataset.frames(range(len(dataset.episodes)))
    return Moments(frames, scale, state=dataset.statistics["observation.state"], backbone=backbone)


def first(moments: Moments, augmentation: Augmentation = UNCHANGED, *, seed: int = 0) -> Signals:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return next(moments.batches(8, seed=0, device=CPU, augmentation=augmentation))


def pictures(signals: Signals) -> list[torch.Tensor]:
    return [signals.image_BHWC, signals.later_BHWC(1), signals.goal_BHWC, signals.start_BHWC]


def still(count: int) -> dict[str, torch.Tensor]:
    return {"shift_B2": torch.zeros(count, 2).long(), "scale_B": torch.ones(count), "offset_B": torch.zeros(count)}


def test_a_shift_moves_the_picture_and_repeats_its_edges():
    image = torch.arange(6, dtype=torch.uint8).view(1, 2, 3, 1)
    moved = Augmented(**still(1) | {"shift_B2": torch.tensor([[1, -1]])})(image)
    assert moved[0, :, :, 0].tolist() == [[1, 2, 2], [1, 2, 2]]


def test_all_pictures_of_a_moment_are_changed_alike_and_those_of_two_moments_are_not(moments: Moments):
    changed, plain = first(moments, WIDE), first(moments)
    assert changed.augmented is not None and len(changed.augmented.shift_B2.unique(dim=0)) > 1
    for seen, before in zip(pictures(changed), pictures(plain), strict=True):
        assert torch.equal(seen, changed.augmented(before)) and not torch.equal(seen, before)
        assert seen.dtype == torch.uint8 and seen.shape == before.shape


def test_nothing_but_pictures_is_changed(moments: Moments):
    changed, plain = first(moments, WIDE), first(moments)
    assert changed.frames == plain.frames
    assert torch.equal(changed.actions(2)[0], plain.actions(2)[0]) and torch.equal(changed.state_BS, plain.state_BS)


def test_without_an_augmentation_nothing_is_drawn_and_pictures_are_those_of_the_data(moments: Moments):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    signals = next(moments.batches(8, seed=0, device=CPU))
    assert torch.equal(torch.random.get_rng_state(), before) and signals.augmented is None
    assert torch.equal(signals.image_BHWC, moments.image[signals.rows_B])


def test_changes_come_back_for_the_same_seed_and_are_others_in_the_next_batch(moments: Moments):
    assert torch.equal(first(moments, WIDE).image_BHWC, first(moments, WIDE).image_BHWC)
    assert not torch.equal(first(moments, WIDE).image_BHWC, first(moments, WIDE, seed=1).image_BHWC)
    with torch.random.fork_rng(devices=[]):
        one, two = (draw_augmented(WIDE, 64) for _ in range(2))
    assert not torch.equal(one.scale_B, two.scale_B) and not torch.equal(one.shift_B2, two.shift_B2)


def test_what_is_drawn_fills_what_is_allowed_and_no_more():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = draw_augmented(Augmentation(shift=2, brightness=0.2, contrast=0.5), 4000)
        bright = draw_augmented(Augmentation(brightness=0.2), 4000)
    counts = np.bincount((drawn.shift_B2 + 2).flatten().numpy())
    assert len(counts) == 5 and counts.min() > 1400
    assert 0.8 * 0.5 <= float(drawn.scale_B.min()) < 0.45 and 1.7 < float(drawn.scale_B.max()) <= 1.2 * 1.5
    assert float(bright.scale_B.min()) == pytest.approx(0.8, abs=0.01) and not bright.offset_B.any()
    assert float(bright.scale_B.mean()) == pytest.approx(1, abs=0.01)


def test_contrast_leaves_mid_grey_and_brightness_multiplies_levels():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        contrast = draw_augmented(Augmentation(contrast=0.5), 50)
        bright = draw_augmented(Augmentation(brightness=0.5), 50)
    torch.testing.assert_close(contrast.scale_B * MID_GREY + contrast.offset_B, torch.full((50,), MID_GREY))
    seen = bright(torch.full((50, 2, 2, 3), 100, dtype=torch.uint8))
    torch.testing.assert_close(seen[:, 0, 0, 0].float(), (bright.scale_B * 100).round())


def test_levels_stay_between_black_and_white():
    image = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2, 1)
    seen = Augmented(**still(1) | {"scale_B": torch.tensor([1.5]), "offset_B": torch.tensor([-60.0])})(image)
    assert seen.flatten().tolist() == [0, 255]


def test_a_shift_past_the_whole_picture_is_refused(moments: Moments):
    with pytest.raises(UserError, match="pixels a side out of sight"):
        _ = first(moments, Augmentation(shift=200)).image_BHWC


def plan(objective: str = "state", **given: Any) -> Inject:
    data = Expert(tasks=("reach",), episodes=2, split="injection", privileged=True)
    return Inject(objective=objective, spec=Spec(), data=data, budget=Budget(steps=2, batch=4), **given)


@pytest.mark.parametrize("objective", ["depth", "pointing", "questions:order", "state + 0.5*pointing"])
def test_a_shift_is_refused_where_labels_stay_in_place_and_light_is_not(objective: str):
    with pytest.raises(ValidationError, match=r"augmentation.shift is 4, but the objective .* leave shift out"):
        plan(objective, augmentation=Augmentation(shift=4))
    assert plan(objective, augmentation=Augmentation(brightness=0.2)).augmentation.brightness == 0.2


@pytest.mark.parametrize("wrong", [{"shift": -1}, {"brightness": 1.0}, {"contrast": -0.1}, {"shift": 1.5}])
def test_what_is_no_augmentation_is_refused(wrong: dict[str, float]):
    with pytest.raises(ValidationError):
        Augmentation.model_validate(wrong)


def test_a_plan_without_one_says_nothing_of_it():
    assert "augmentation" not in plan().model_dump() and "augmentation" in plan(augmentation=WIDE).model_dump()


def injected(**given: Any) -> dict[str, Any]:
    data = {"kind": "expert", "tasks": ["reach"], "episodes": 2, "split": "injection", "privileged": True}
    return {"objective": "state", "data": data, "budget": {"steps": 2, "batch": 4}, **given}


def test_a_study_hands_it_to_the_plan_and_refuses_what_the_plan_would():
    base = read_study("smoke").model_dump(mode="json")
    content = base | {"arms": [{"name": "full"}], "contrasts": []}
    given = {"augmentation": {"shift": 4, "brightness": 0.2, "contrast": 0.2}}
    study = Study.model_validate(content | {"injections": {"one": injected(**given), "two": injected()}})
    assert injection_plan(study, "one").augmentation == Augmentation(shift=4, brightness=0.2, contrast=0.2)
    assert injection_plan(study, "two").augmentation == UNCHANGED
    with pytest.raises(ValidationError, match="leave shift out"):
        Study.model_validate(content | {"injections": {"one": injected(objective="depth", **given)}})


def test_a_run_is_trained_with_it_and_comes_back_bit_for_bit(tmp_path: Path):
    data = plan().data
    assert isinstance(data, Expert)
    slot = Slot(tune=Frozen())
    others = {name: slot for name in ("projector", "embeddings", "language")}
    head = Slot(module="chunk-mlp", weights="random", tune=Frozen())
    spec = Spec.model_validate({**others, "head": head})
    hashes = {}
    for name, augmentation in (("one", WIDE), ("same", WIDE), ("none", UNCHANGED)):
        wanted = plan(augmentation=augmentation).model_copy(update={"spec": spec})
        collect(data, collected_folder(tmp_path / name, data))
        execute(wanted, tmp_path / name)
        hashes[name] = open_record(tmp_path / name, run_id(wanted)).result["weights_sha256"]
    assert hashes["one"] == hashes["same"] != hashes["none"]
