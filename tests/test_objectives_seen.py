"""The objectives that need no action: each is learned from real demonstrations, and by nothing that it does not say."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.contract import Card, Encoder
from encoders.registry import build_encoder
from workbench.adapt import adapt
from workbench.build import build
from workbench.collect import collect
from workbench.data.contract import Frames
from workbench.data.lerobot import Dataset, open_dataset
from workbench.imitate import ActionScale
from workbench.objectives.contract import Objective, Sizes
from workbench.objectives.distillation import COSINE, SMOOTH_L1, Distillation, normalised
from workbench.objectives.masked_image import ACROSS, SHARE, MaskedImage, draw_masks, greyed
from workbench.objectives.moments import Moments, Signals
from workbench.objectives.registry import build_objective
from workbench.plan import Budget, Expert
from workbench.policy import Policy
from workbench.spec import Spec
from workbench.train import train

SEEN = ("masked-image", "random-distillation")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Bench:
    """A policy whose vision is trained, beside an objective, and moments to learn from and to be judged on."""

    policy: Policy
    objective: Objective
    seen: Moments
    held_out: Moments

    def signals(self, size: int = 16, *, seed: int = 0) -> Signals:
        return next(self.seen.batches(size, seed=seed, device=CPU))

    def loss(self, signals: Signals) -> Tensor:
        return torch.stack(list(self.objective.loss(self.policy, signals).values())).sum()

    def learn(self, batches: Any, *, steps: int, rate: float = 1e-3) -> list[float]:
        """As a run is trained: the global generator is seeded for what is drawn while training."""
        model = nn.ModuleDict({"policy": self.policy, "objective": self.objective})
        budget = Budget(steps=steps, learning_rate=rate, warmup_steps=min(5, steps - 1), schedule="constant")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return [s.loss for s in train(model, batches, loss=lambda b: {"all": self.loss(b)}, budget=budget)]


def spec() -> Spec:
    frozen = {"tune": {"kind": "frozen"}}
    others = {slot: frozen for slot in ("projector", "embeddings", "language")}
    return Spec.model_validate(others | {"head": frozen | {"module": "chunk-mlp", "weights": "random"}})


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    root = tmp_path_factory.mktemp("seen")
    recipes = (
        Expert(tasks=("reach", "lift"), episodes=24, split="injection"),
        Expert(tasks=("reach", "lift"), episodes=8, split="selection"),
    )
    seen, held_out = (open_dataset(collect(recipe, root / recipe.split)) for recipe in recipes)
    return seen, held_out


@pytest.fixture
def bench(collected: tuple[Dataset, Dataset]) -> Callable[[str], Bench]:
    seen, held_out = collected

    def make(name: str) -> Bench:
        policy, backbone = build(spec(), 0, chunk=4, root=Path())
        adapt(policy, spec(), seed=0)
        scale, state = ActionScale(seen.statistics["action"]), seen.statistics["observation.state"]

        def moments(frames: Frames) -> Moments:
            return Moments(frames, scale, state=state, backbone=backbone)

        given = [moments(dataset.frames(range(len(dataset.episodes)))) for dataset in (seen, held_out)]
        return Bench(policy, build_objective(name, sizes(policy.vision.card), seed=0), *given)

    return make


def sizes(card: Card) -> Sizes:
    return Sizes(card.tokens, card.dim, state=8, actions=7, chunk=4)


def constant_loss(bench: Bench, signals: Signals) -> float:
    """The loss of the best answer that does not look at the frame, on these moments."""
    objective, image_BHWC = bench.objective, signals.image_BHWC
    with torch.no_grad():
        match objective:
            case MaskedImage():
                wanted_BCTT = objective.wanted_BCTT(image_BHWC, bench.policy.vision.card)
                return float(wanted_BCTT.var(dim=0, correction=0).mean())
            case Distillation():
                wanted_BMF = normalised(objective.teacher(image_BHWC))
                mean_BMF = wanted_BMF.mean(dim=0).expand_as(wanted_BMF)
                cosine = 1 - functional.cosine_similarity(mean_BMF, wanted_BMF, dim=-1).mean()
                return float(COSINE * cosine + SMOOTH_L1 * functional.smooth_l1_loss(mean_BMF, wanted_BMF))
            case _:
                raise AssertionError(f"no constant is known for {type(objective).__name__}")


@pytest.mark.parametrize("name", SEEN)
def test_one_batch_is_learned_beyond_what_a_constant_could_say(name: str, bench: Callable[[str], Bench]):
    made = bench(name)
    signals = made.signals(4)
    steps = 200 if name == "masked-image" else 60  # its masks are others at each step
    losses = made.learn(iter(lambda: signals, None), steps=steps, rate=2e-3)
    end = sum(losses[-5:]) / 5
    assert end < constant_loss(made, signals) and end < 0.7 * losses[0]


@pytest.mark.parametrize("name", SEEN)
def test_the_gradient_reaches_vision_and_the_objectives_own_parameters_only(name: str, bench: Callable[[str], Bench]):
    made = bench(name)
    made.policy.embeddings.requires_grad_(True)
    made.loss(made.signals(8)).backward()
    reached = {key for key, p in made.policy.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert {key.split(".")[0] for key in reached} == {"vision"}
    own = {key: p for key, p in made.objective.named_parameters() if not key.startswith("teacher.")}
    assert own and all(p.grad is not None and bool(p.grad.any()) for p in own.values())
    teacher = {key: p for key, p in made.objective.named_parameters() if key.startswith("teacher.")}
    assert not any(p.requires_grad for p in teacher.values())


@pytest.mark.parametrize("name", SEEN)
def test_labels_come_back_for_the_same_seed_and_own_parameters_too(name: str, bench: Callable[[str], Bench]):
    made = bench(name)
    again = build_objective(name, sizes(made.policy.vision.card), seed=0)
    other = build_objective(name, sizes(made.policy.vision.card), seed=1)
    signals, losses = made.signals(4), []
    for objective in (made.objective, again, other):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            losses.append({key: float(part) for key, part in objective.loss(made.policy, signals).items()})
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.slow
def test_a_random_teacher_is_followed_on_held_out_frames_and_not_after_permuted_labels(bench: Callable[[str], Bench]):
    found = {}
    for permuted in (False, True):
        made = bench("random-distillation")
        batches = made.seen.batches(16, seed=0, device=CPU)
        handle = made.policy.vision.register_forward_hook(_permuted) if permuted else None
        made.learn(batches, steps=60)
        if handle:
            handle.remove()
        found[permuted] = held_out(made)
    assert found[False] < 0.97, found
    assert found[True] > 0.97, found


def _permuted(module: nn.Module, given: Any, seen_BND: Tensor) -> Tensor:
    """Each frame's tokens stand beside another frame's label."""
    return seen_BND[torch.randperm(len(seen_BND))]


def held_out(made: Bench) -> float:
    """The loss on held-out frames as a share of what a constant reaches there."""
    made.objective.eval()
    shares = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for signals in islice(made.held_out.batches(32, seed=1, device=CPU), 3):
            shares.append(float(made.loss(signals)) / constant_loss(made, signals))
    return sum(shares) / len(shares)


class Row(Encoder):
    """Tokens that are no square grid."""

    @property
    def blocks(self) -> list[nn.Module]:
        return []

    def __init__(self, tokens: int) -> None:
        facts = build_encoder("tiny", weights="random", seed=0).card
        super().__init__(facts.model_copy(update={"tokens": tokens, "dim": 6}))
        self.tell = nn.LazyLinear(tokens * 6)
        self.tell(torch.zeros(1, 3 * facts.side**2))

    def tokens(self, pixels_BCHW: Tensor) -> Tensor:
        return self.tell(pixels_BCHW.flatten(1)).unflatten(1, (self.card.tokens, 6))


@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("tokens", [1, 9, 7])
def test_any_number_of_tokens_and_any_size_of_frame_work(name: str, tokens: int, bench: Callable[[str], Bench]):
    made = bench(name)
    made.policy.vision = Row(tokens)
    made.seen.image = torch.randint(256, (len(made.seen.image), 17, 30, 3), dtype=torch.uint8)
    objective = build_objective(name, sizes(made.policy.vision.card), seed=0)
    loss = torch.stack(list(objective.loss(made.policy, made.signals(4)).values())).sum()
    loss.backward()
    assert torch.isfinite(loss) and all(p.grad is not None for p in made.policy.vision.parameters())


@pytest.mark.parametrize("side", [8, 32, 27, 112])
def test_masks_hide_the_share_that_they_say_and_only_that(side: int):
    hidden_BTT = draw_masks(64, side)
    assert hidden_BTT.float().mean() == pytest.approx(SHARE, abs=0.02)
    assert side % ACROSS or len(set(hidden_BTT.sum(dim=(1, 2)).tolist())) == 1
    image = torch.full((64, side * 2, side, 3), 7, dtype=torch.uint8)
    grey = greyed(image, hidden_BTT, build_encoder("tiny", weights="random", seed=0).card)
    assert set(grey.unique().tolist()) == {7, 128}
    assert torch.equal((grey[:, ::2, :, 0] == 128), hidden_BTT)
