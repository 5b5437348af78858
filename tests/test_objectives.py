"""Every injection objective by its row, the moments that they read, and an injection from plan to another run."""

import io
import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.collect import collect, open_data
from workbench.data.contract import Frames
from workbench.data.lerobot import open_dataset
from workbench.errors import UserError
from workbench.execute import execute
from workbench.objectives.facts import facts
from workbench.objectives.moments import Moments, Signals
from workbench.objectives.registry import BUILDERS
from workbench.objectives.rows import OBJECTIVES
from workbench.plan import Budget, Inject, needs, run_id
from workbench.policy import Policy
from workbench.recipes import Expert
from workbench.record import collected_folder, open_record
from workbench.screens.objective import list_objectives
from workbench.spec import SLOTS, Frozen, Slot, Spec
from workbench.training.imitate import ActionScale
from workbench.weights import read_weights

CPU = torch.device("cpu")
DATA = Expert(tasks=("reach",), episodes=6, privileged=True)
CHUNK = 4


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root that holds the demonstrations; tests add runs to it."""
    root = tmp_path_factory.mktemp("runs")
    collect(DATA, collected_folder(root, DATA))
    return root


@pytest.fixture(scope="module")
def frames(root: Path) -> Frames:
    return open_data(root, DATA).frames(range(DATA.episodes))


@pytest.fixture(scope="module")
def built() -> tuple[Policy, Backbone]:
    return build(Spec(), 0, chunk=CHUNK, root=Path())


@pytest.fixture(scope="module")
def moments(root: Path, frames: Frames, built: tuple[Policy, Backbone]) -> Moments:
    statistics = open_dataset(collected_folder(root, DATA)).statistics
    scale = ActionScale(statistics["action"])
    return Moments(frames, scale, state=statistics["observation.state"], backbone=built[1])


def at(moments: Moments, *rows: int) -> Signals:
    return Signals(moments, torch.tensor(rows), CPU, rows)


def every(moments: Moments) -> Signals:
    return at(moments, *range(len(moments.image)))


def test_facts_and_builders_have_the_same_names():
    assert set(OBJECTIVES) == set(BUILDERS)


def test_the_list_names_every_objective_whole_on_a_narrow_screen(monkeypatch: pytest.MonkeyPatch):
    shown = Console(width=80, file=io.StringIO(), record=True)
    monkeypatch.setattr("workbench.screens.objective.console", shown)
    list_objectives("terminal")
    words = set(re.split(r"[\s\[:│]+", shown.export_text()))
    assert set(OBJECTIVES) <= words and "sham" in words


def test_an_unknown_objective_is_told_the_nearest_name():
    with pytest.raises(UserError, match="No objective named 'stat'. Did you mean 'state'"):
        facts("stat")


def _pictures(frames: Frames, rows: np.ndarray) -> Tensor:
    return torch.from_numpy(frames.image[rows])


@pytest.mark.parametrize("steps", [0, 1, 3, 1000])
def test_a_later_picture_is_of_the_same_episode(steps: int, moments: Moments, frames: Frames):
    rows = np.arange(len(frames))
    wanted = np.array([min(i + steps, np.flatnonzero(frames.episode == frames.episode[i])[-1]) for i in rows])
    assert torch.equal(every(moments).later_BHWC(steps), _pictures(frames, wanted))


def test_first_and_last_pictures_are_of_the_moments_episode(moments: Moments, frames: Frames):
    own = [np.flatnonzero(frames.episode == episode) for episode in frames.episode]
    signals = every(moments)
    assert torch.equal(signals.start_BHWC, _pictures(frames, np.array([rows[0] for rows in own])))
    assert torch.equal(signals.goal_BHWC, _pictures(frames, np.array([rows[-1] for rows in own])))
    assert signals.left_B.tolist() == [rows[-1] - i for i, rows in enumerate(own)]


def test_actions_are_padded_past_the_end_as_demonstrations_are(moments: Moments, frames: Frames, root: Path):
    scale = ActionScale(open_data(root, DATA).statistics["action"])
    action, padded = frames.chunks(CHUNK)
    action_BKA, padded_BK = every(moments).actions(CHUNK)
    np.testing.assert_array_equal(padded_BK.numpy(), padded)
    np.testing.assert_array_equal(action_BKA.numpy(), scale.to_policy(action))
    assert padded[-1].tolist() == [False, True, True, True]


def test_progress_is_0_at_the_first_and_1_at_the_last_picture(moments: Moments, frames: Frames):
    progress = every(moments).progress_B.numpy()
    firsts = np.flatnonzero(frames.step == 0)
    assert (progress[firsts] == 0).all() and (progress[np.append(firsts[1:], len(frames)) - 1] == 1).all()
    same = np.diff(frames.episode) == 0
    assert (np.diff(progress)[same] > 0).all() and progress.max() == 1 and progress.min() == 0


def test_moments_of_one_episode_have_one_number(moments: Moments, frames: Frames):
    number = every(moments).episode_B.numpy()
    assert (np.equal.outer(number, number) == np.equal.outer(frames.episode, frames.episode)).all()


def test_batches_are_a_function_of_the_seed_and_see_every_moment_once_an_epoch(moments: Moments):
    drawn = [[s.frames for s in islice(moments.batches(5, seed=seed, device=CPU), 6)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    count = len(moments.image)
    seen = [row for s in islice(moments.batches(1, seed=0, device=CPU), count) for row in s.frames]
    assert sorted(seen) == list(range(count))


def test_an_encoder_injected_with_state_moved_alone_and_starts_another_run(root: Path):
    still = {name: Slot(tune=Frozen()) for name in ("projector", "embeddings", "language")}
    frozen = Spec.model_validate({**still, "head": Slot(module="chunk-mlp", weights="random", tune=Frozen())})
    plan = Inject(objective="state", spec=frozen, data=DATA, budget=Budget(steps=5, batch=8, warmup_steps=1))
    execute(plan, root)
    record = open_record(root, run_id(plan))
    assert record.error is None
    rows = {row["slot"]: row for row in record.ledger()["rows"]}
    assert {slot for slot, row in rows.items() if row["before"] != row["after"]} == {"vision"}
    assert rows["vision"]["gradient"] == rows["vision"]["tensors"] > 0
    stored = read_weights(record.folder)
    assert {key.split(".")[0] for key in stored} <= set(SLOTS), "the objective's own parameters are dropped"
    spec = Spec(vision=Slot(weights=f"run:{record.id}"))
    assert needs(Inject(spec=spec, data=DATA, budget=Budget(steps=1))) == (record.id,)
    vision = build(spec, 1, chunk=CHUNK, root=root)[0].vision.state_dict()
    assert all(torch.equal(stored[f"vision.{key}"], value) for key, value in vision.items())
