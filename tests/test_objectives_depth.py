"""Objectives whose target is a map of the picture: its depth, and another encoder's features."""

import copy
from collections.abc import Iterator
from itertools import islice, repeat
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from encoders.contract import Encoder
from encoders.registry import build_encoder
from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.collect import collect
from workbench.data.contract import Episode
from workbench.data.lerobot import open_dataset
from workbench.data.lerobot_write import write_dataset
from workbench.errors import UserError
from workbench.objectives.contract import Given, Objective
from workbench.objectives.depth import FLOOR, Depth
from workbench.objectives.distillation import COSINE, SMOOTH_L1, Distillation, normalised
from workbench.objectives.moments import Moments, Signals
from workbench.objectives.registry import build_objective
from workbench.plan import Budget
from workbench.policy import Policy
from workbench.recipes import Expert
from workbench.scene import DEPTH, DEPTH_SIDE
from workbench.spec import SLOTS, Spec
from workbench.training.imitate import ActionScale
from workbench.training.train import train

CPU = torch.device("cpu")
CHUNK = 4
TAUGHT = Expert(tasks=("reach", "lift"), episodes=24, split="injection", privileged=True)
HELD_OUT = Expert(tasks=("reach", "lift"), episodes=8, split="selection", privileged=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("maps")


@pytest.fixture(scope="module")
def given(folder: Path) -> Given:
    """Copy the policy before it is trained."""
    policy, backbone = build(Spec(), 0, chunk=CHUNK, root=Path())
    return Given(policy, backbone, _moments(folder / "taught", backbone, TAUGHT), CHUNK)


@pytest.fixture(scope="module")
def held_out(folder: Path, given: Given) -> Moments:
    return _moments(folder / "held-out", given.backbone, HELD_OUT)


@pytest.fixture(scope="module")
def teacher(folder: Path) -> str:
    """The name of an encoder whose weights are in a file."""
    file = folder / "teacher.safetensors"
    save_file(_own().tower.state_dict(), file)
    return f"tiny@{file}"


def _own() -> Encoder:
    return build_encoder("tiny", weights="random", seed=77)


def _moments(folder: Path, backbone: Backbone, recipe: Expert) -> Moments:
    dataset = open_dataset(collect(recipe, folder))
    frames, statistics = dataset.frames(range(len(dataset.episodes))), dataset.statistics
    scale = ActionScale(statistics["action"])
    return Moments(frames, scale, state=statistics["observation.state"], backbone=backbone)


def batch_of(moments: Moments, size: int = 16, seed: int = 0) -> Signals:
    return next(moments.batches(size, seed=seed, device=CPU))


def every(moments: Moments) -> Signals:
    rows = torch.arange(len(moments.image))
    return Signals(moments, rows, CPU, tuple(rows.tolist()))


class Permuted(Signals):
    """Moments beside the depth of others."""

    @property
    def depth_BSS(self) -> Tensor:
        return super().depth_BSS[self._others()]

    def _others(self) -> np.ndarray:
        return np.random.default_rng(self.frames).permutation(len(self.frames))


def permuted(batches: Iterator[Signals]) -> Iterator[Signals]:
    return (Permuted(batch.source, batch.rows_B, batch.device, batch.frames) for batch in batches)


def taught(
    name: str,
    given: Given,
    batches: Iterator[Signals],
    *,
    steps: int,
    rate: float,
    objective: Objective | None = None,
) -> tuple[Objective, Policy]:
    """The objective, and the policy whose encoder moved with it."""
    policy, objective = copy.deepcopy(given.policy), objective or build_objective(name, given, seed=0)
    model = nn.ModuleDict({"policy": policy.vision, "objective": objective})
    budget = Budget(steps=steps, learning_rate=rate, warmup_steps=5)
    for _ in train(model, batches, loss=lambda batch: objective.loss(policy, batch), budget=budget):
        pass
    return objective, policy


@torch.no_grad()
def loss_of(objective: Objective, policy: Policy, *batches: Signals) -> float:
    return float(np.mean([float(sum(objective.loss(policy, batch).values())) for batch in batches]))


def test_the_mean_map_has_a_loss_of_about_one_and_what_never_moves_counts_nothing(given: Given):
    objective = build_objective("depth", given, seed=0)
    assert isinstance(objective, Depth)
    wanted_NSS, std_SS = objective.wanted_BSS(every(given.moments)), objective.std_SS
    assert wanted_NSS.shape[1:] == (DEPTH_SIDE, DEPTH_SIDE) and wanted_NSS.mean(dim=0).abs().max() < 1e-3
    share_SS = wanted_NSS.square().mean(dim=0)
    assert torch.allclose(share_SS[std_SS > FLOOR], torch.tensor(1.0), atol=1e-3)
    assert (share_SS[std_SS == FLOOR] <= 1).all() and float(share_SS.min()) < 0.05
    assert 0.7 < float(share_SS.mean()) < 1


def test_standardised_depth_is_metres_again_where_it_came_from(given: Given):
    objective, batch = build_objective("depth", given, seed=0), batch_of(given.moments)
    assert isinstance(objective, Depth)
    metres_BSS = objective.wanted_BSS(batch) * objective.std_SS + objective.mean_SS
    raw = given.moments.frames.extra["privileged.depth"][list(batch.frames)]
    np.testing.assert_allclose(metres_BSS.flatten(1).numpy(), raw, atol=1e-5)


def test_each_token_tells_the_depth_of_its_own_cell(given: Given):
    """Of 4 × 4 tokens, the one in row 1 and column 2 tells rows 4 to 7 and columns 8 to 11."""
    objective = build_objective("depth", given, seed=0)
    assert isinstance(objective, Depth)
    seen_BND = torch.randn(1, 16, given.policy.vision.card.dim, generator=torch.Generator().manual_seed(0))
    other_BND = seen_BND.clone()
    other_BND[0, 1 * 4 + 2] += torch.randn(other_BND.shape[-1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        changed = (objective.tell(seen_BND) != objective.tell(other_BND))[0, 0].nonzero()
    assert set(map(tuple, changed.tolist())) == {(row, column) for row in range(4, 8) for column in range(8, 12)}


class Tokens(Encoder):
    """So many tokens, of width 6."""

    @property
    def blocks(self) -> list[nn.Module]:
        return []

    def __init__(self, tokens: int) -> None:
        super().__init__(_own().card.model_copy(update={"tokens": tokens, "dim": 6}))
        self.tell = nn.Linear(3 * 8**2, tokens * 6)

    def tokens(self, pixels_BCHW: Tensor) -> Tensor:
        small_BCHW = nn.functional.adaptive_avg_pool2d(pixels_BCHW, 8)
        return self.tell(small_BCHW.flatten(1)).unflatten(1, (self.card.tokens, 6))


@pytest.mark.parametrize("tokens", [1, 7, 9, 196, 256, 729])
def test_depth_is_learned_from_any_number_of_tokens(tokens: int, given: Given):
    policy = copy.deepcopy(given.policy)
    policy.vision = Tokens(tokens)
    other, batch = Given(policy, given.backbone, given.moments, CHUNK), batch_of(given.moments, 4)
    objective, trained = taught("depth", other, repeat(batch), steps=30, rate=1e-2)
    start = loss_of(build_objective("depth", other, seed=0), policy, batch)
    assert loss_of(objective, trained, batch) < 0.8 * start


def both(teacher: str) -> tuple[str, str]:
    return "depth", f"distillation:{teacher}"


@pytest.mark.parametrize("kind", [0, 1], ids=["depth", "distillation"])
def test_the_gradient_reaches_vision_and_the_objectives_own_parameters_only(kind: int, teacher: str, given: Given):
    policy, objective = copy.deepcopy(given.policy), build_objective(both(teacher)[kind], given, seed=0)
    torch.stack(list(objective.loss(policy, batch_of(given.moments)).values())).sum().backward()
    reached = {slot for slot in SLOTS if any(p.grad is not None for p in policy.get_submodule(slot).parameters())}
    assert reached == {"vision"}
    own = {key: p.grad is not None and bool(p.grad.any()) for key, p in objective.named_parameters()}
    assert own and {key for key, moves in own.items() if not moves} == {key for key in own if "teacher." in key}


@pytest.mark.parametrize("kind", [0, 1], ids=["depth", "distillation"])
def test_one_batch_is_overfitted(kind: int, teacher: str, given: Given):
    name, batch = both(teacher)[kind], batch_of(given.moments, 8)
    start = loss_of(build_objective(name, given, seed=0), given.policy, batch)
    assert loss_of(*taught(name, given, repeat(batch), steps=40, rate=2e-3), batch) < 0.4 * start


@pytest.mark.slow
def test_depth_is_told_of_episodes_that_were_not_seen_and_not_after_permuted_labels(given: Given, held_out: Moments):
    judged = list(islice(held_out.batches(32, seed=0, device=CPU), 3))
    right = given.moments.batches(16, seed=0, device=CPU)
    found = loss_of(*taught("depth", given, right, steps=60, rate=1e-3), *judged)
    wrong = permuted(given.moments.batches(16, seed=0, device=CPU))
    destroyed = loss_of(*taught("depth", given, wrong, steps=60, rate=1e-3), *judged)
    objective = build_objective("depth", given, seed=0)
    assert isinstance(objective, Depth)
    trivial = float(np.mean([float(objective.wanted_BSS(batch).square().mean()) for batch in judged]))
    print(f"trivial {trivial:.3f} held out {found:.3f} permuted {destroyed:.3f}")
    assert found < 0.85 * trivial and destroyed > 0.95 * trivial


def test_depth_needs_data_that_say_how_far_things_are(given: Given, folder: Path):
    recipe = Expert(tasks=("reach",), episodes=2)
    dataset = open_dataset(collect(recipe, folder / "plain"))
    scale, state = ActionScale(dataset.statistics["action"]), dataset.statistics["observation.state"]
    plain = Moments(dataset.frames(range(2)), scale, state=state, backbone=given.backbone)
    with pytest.raises(UserError, match="collect them with privileged = true"):
        build_objective("depth", Given(given.policy, given.backbone, plain, CHUNK), seed=0)


def with_depth(folder: Path, given: Given, values: int) -> Moments:
    """Noise whose data set has a depth column of its own, and tells of no things."""
    random = np.random.default_rng(5)
    column = {DEPTH: random.uniform(0.4, 0.9, (3, 5, values)).astype(np.float32)}
    written = [
        Episode(
            image=random.integers(0, 256, (5, 64, 64, 3), dtype=np.uint8),
            state=random.normal(size=(5, 4)).astype(np.float32),
            action=random.uniform(-1, 1, (5, 7)).astype(np.float32),
            instruction="reach the red block",
            extra={name: values[episode] for name, values in column.items()},
        )
        for episode in range(3)
    ]
    names = {DEPTH: [f"part{index}" for index in range(values)]}
    axes, joints = [f"action{index}" for index in range(7)], [f"state{index}" for index in range(4)]
    write_dataset(folder, written, fps=10, robot_type="any", action_names=axes, state_names=joints, extra_names=names)
    dataset = open_dataset(folder)
    scale, state = ActionScale(dataset.statistics["action"]), dataset.statistics["observation.state"]
    return Moments(dataset.frames(range(3)), scale, state=state, backbone=given.backbone)


def test_a_data_sets_own_depth_is_learned_whatever_its_size_and_without_a_simulator(given: Given, folder: Path):
    moments = with_depth(folder / "own", given, 81)
    own = Given(given.policy, given.backbone, moments, CHUNK)
    objective, batch = build_objective("depth", own, seed=0), batch_of(moments, 8)
    assert isinstance(objective, Depth)
    metres_BSS = objective.wanted_BSS(batch) * objective.std_SS + objective.mean_SS
    own_BSS = moments.frames.extra[DEPTH][list(batch.frames)].reshape(8, 9, 9)
    np.testing.assert_allclose(metres_BSS.numpy(), own_BSS, atol=1e-5)
    assert loss_of(*taught("depth", own, repeat(batch), steps=30, rate=1e-2), batch) < 0.7 * loss_of(
        objective, given.policy, batch
    )
    with pytest.raises(UserError, match="no column"):
        _ = moments.scenes


def test_a_depth_column_that_is_no_square_is_refused(given: Given, folder: Path):
    own = Given(given.policy, given.backbone, with_depth(folder / "oblong", given, 6), CHUNK)
    with pytest.raises(UserError, match="has 6 values a frame, and a map has S × S"):
        build_objective("depth", own, seed=0)


def test_the_teacher_is_the_encoder_that_is_named(given: Given, teacher: str):
    image_BHWC = batch_of(given.moments, 4).image_BHWC
    with torch.no_grad():
        wanted = _own().eval()(image_BHWC)
        for name, same in ((teacher, True), (f"shuffled:{teacher}", False), ("random:tiny", False)):
            objective = build_objective(f"distillation:{name}", given, seed=0)
            assert isinstance(objective, Distillation)
            assert torch.equal(objective.teacher(image_BHWC), wanted) == same


def test_several_teachers_are_followed_at_once(given: Given, teacher: str):
    name = f"distillation:{teacher} + 0.5*distillation:random:tiny"
    parts = build_objective(name, given, seed=0).loss(given.policy, batch_of(given.moments))
    teachers = (f"distillation:{teacher}", "distillation:random:tiny")
    assert list(parts) == [f"{one}/{part}" for one in teachers for part in ("cosine", "smooth-l1")]


@pytest.mark.slow
def test_a_teacher_is_followed_on_pictures_that_were_not_seen_and_not_after_permuted_features(
    given: Given, held_out: Moments, teacher: str
):
    name, judged = f"distillation:{teacher}", list(islice(held_out.batches(32, seed=0, device=CPU), 3))
    found = {}
    for others in (False, True):
        objective, batches = build_objective(name, given, seed=0), given.moments.batches(16, seed=0, device=CPU)
        assert isinstance(objective, Distillation)
        hook = objective.teacher.register_forward_hook(_of_other_pictures) if others else None
        learned, policy = taught(name, given, batches, steps=80, rate=1e-3, objective=objective)
        if hook:
            hook.remove()
        found[others] = loss_of(learned, policy, *judged)
    trivial = float(np.mean([_unseeing(_own(), batch.image_BHWC) for batch in judged]))
    print(f"trivial {trivial:.3f} held out {found[False]:.3f} permuted {found[True]:.3f}")
    assert found[False] < 0.8 * trivial and found[True] > 0.97 * trivial


def _of_other_pictures(module: nn.Module, given: object, told_BMF: Tensor) -> Tensor:
    return told_BMF.roll(1, dims=0)


@torch.no_grad()
def _unseeing(teacher: Encoder, image_BHWC: Tensor) -> float:
    """The loss of each place's mean feature."""
    wanted_BMF = normalised(teacher(image_BHWC))
    mean_BMF = wanted_BMF.mean(dim=0).expand_as(wanted_BMF)
    cosine = 1 - nn.functional.cosine_similarity(mean_BMF, wanted_BMF, dim=-1).mean()
    return float(COSINE * cosine + SMOOTH_L1 * nn.functional.smooth_l1_loss(mean_BMF, wanted_BMF))


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("dinov2-smal", "No encoder named 'dinov2-smal'. Did you mean 'dinov2-small'"),
        ("tiny", 'No weights of "tiny" were published'),
        ("tiny@/nowhere/a.safetensors", "/nowhere/a.safetensors"),
    ],
)
def test_an_encoder_that_cannot_teach_is_said_so(choice: str, said: str, given: Given):
    with pytest.raises(UserError, match=said):
        build_objective(f"distillation:{choice}", given, seed=0)
