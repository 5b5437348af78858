"""The objectives that need no action: each is learned from real demonstrations, and by nothing that it does not say."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.contract import Encoder
from encoders.registry import build_encoder
from workbench.build import build
from workbench.collect import collect
from workbench.data.contract import Frames
from workbench.data.lerobot import Dataset, open_dataset
from workbench.objectives.contract import Given, Objective
from workbench.objectives.distillation import COSINE, SMOOTH_L1, Distillation, normalised
from workbench.objectives.image_text import ImageText, captions
from workbench.objectives.masked_image import ACROSS, SHARE, MaskedImage, draw_masks, greyed
from workbench.objectives.moments import Moments, Signals
from workbench.objectives.registry import build_objective
from workbench.objectives.self_distillation import (
    PROTOTYPES,
    TEACHER_TEMPERATURE,
    VIEWS,
    SelfDistillation,
    view,
)
from workbench.plan import Budget
from workbench.policy import Policy
from workbench.recipes import Expert
from workbench.spec import Spec
from workbench.training.adapt import adapt
from workbench.training.imitate import ActionScale
from workbench.training.train import train

SEEN = ("masked-image", "random-distillation", "image-text", "self-distillation")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Bench:
    """A policy whose vision is trained, beside an objective, and moments to learn from and to be judged on."""

    policy: Policy
    objective: Objective
    given: Given
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
        Expert(tasks=("reach", "lift"), episodes=24, split="injection", privileged=True),
        Expert(tasks=("reach", "lift"), episodes=20, split="selection", privileged=True),
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

        held = [moments(dataset.frames(range(len(dataset.episodes)))) for dataset in (seen, held_out)]
        given = Given(policy, backbone, held[0], 4)
        return Bench(policy, build_objective(name, given, seed=0), given, *held)

    return make


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
            case ImageText():
                said = captions(signals.scenes)
                same = torch.tensor([[a == b for a in said] for b in said]).float().mean()
                return len(said) * float(entropy(torch.stack([same, 1 - same])))
            case SelfDistillation():
                return float(entropy(sure(objective, image_BHWC).mean(dim=0)))
            case _:
                raise AssertionError(f"no constant is known for {type(objective).__name__}")


def sure(objective: SelfDistillation, image_BHWC: Tensor) -> Tensor:
    """What the teacher answers, `[B, K]`."""
    return ((objective.taught_BK(image_BHWC) - objective.centre_K) / TEACHER_TEMPERATURE).softmax(dim=-1)


def entropy(share_K: Tensor) -> Tensor:
    return -torch.special.xlogy(share_K, share_K).sum(dim=-1)


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
    again = build_objective(name, made.given, seed=0)
    other = build_objective(name, made.given, seed=1)
    signals, losses = made.signals(4), []
    for objective in (made.objective, again, other):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            losses.append({key: float(part) for key, part in objective.loss(made.policy, signals).items()})
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("random-distillation", 60), ("self-distillation", 60)])
def test_a_teacher_is_followed_on_held_out_frames_and_not_after_permuted_labels(
    name: str, steps: int, bench: Callable[[str], Bench]
):
    found = {}
    for permuted in (False, True):
        made = bench(name)
        batches = made.seen.batches(16, seed=0, device=CPU)
        handle = made.policy.vision.register_forward_hook(_permuted) if permuted else None
        made.learn(batches, steps=steps)
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
    objective = build_objective(name, made.given, seed=0)
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


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Captions of few scenes are learned by heart."""
    recipe = Expert(tasks=("reach", "lift"), episodes=160, split="injection", privileged=True)
    return open_dataset(collect(recipe, tmp_path_factory.mktemp("many") / "data"))


@pytest.mark.slow
def test_captions_are_told_apart_in_scenes_that_were_not_seen_and_not_after_permuted_ones(
    many: Dataset, bench: Callable[[str], Bench]
):
    found = {}
    for permuted in (False, True):
        made = bench("image-text")
        frames = many.frames(range(len(many.episodes)))
        taught = Moments(
            frames,
            ActionScale(many.statistics["action"]),
            state=many.statistics["observation.state"],
            backbone=made.given.backbone,
        )
        handle = made.policy.vision.register_forward_hook(_permuted) if permuted else None
        made.learn(taught.batches(32, seed=0, device=CPU), steps=100)
        if handle:
            handle.remove()
        found[permuted] = held_out(made)
    assert found[False] < 0.92, found
    assert found[True] > 0.98, found


def test_a_caption_says_what_stands_where(bench: Callable[[str], Bench]):
    signals = bench("image-text").signals(8)
    scenes = signals.scenes
    for frame, caption in enumerate(captions(scenes)):
        assert len(caption) == 1 + len(scenes.kinds) and caption[0].startswith("the gripper ")
        for thing, phrase in enumerate(caption[1:]):
            across, down = scenes.at_NM2[frame, thing]
            row = "top" if down < 1 / 3 else "middle" if down < 2 / 3 else "bottom"
            column = "left" if across < 1 / 3 else "centre" if across < 2 / 3 else "right"
            assert phrase == f"a {scenes.name(frame, thing)} {row} {column}"


def test_a_self_taught_encoder_does_not_collapse(bench: Callable[[str], Bench]):
    """All prototypes are used, and which of them is asked depends on the frame."""
    made = bench("self-distillation")
    assert isinstance(made.objective, SelfDistillation)
    made.learn(made.seen.batches(16, seed=0, device=CPU), steps=40)
    sure_BK = sure(made.objective, made.held_out.image[:48])
    assert float(entropy(sure_BK.mean(dim=0))) > 0.8 * log(PROTOTYPES)
    assert float(entropy(sure_BK).mean()) < float(entropy(sure_BK.mean(dim=0))) - 0.3


def test_the_teacher_is_an_average_of_what_the_encoder_was_and_is_not_trained(bench: Callable[[str], Bench]):
    made = bench("self-distillation")
    assert isinstance(made.objective, SelfDistillation)
    key, before = next((key, p.detach().clone()) for key, p in made.policy.vision.named_parameters())
    made.learn(made.seen.batches(4, seed=0, device=CPU), steps=2)
    now, average = (module.get_parameter(key).detach() for module in (made.policy.vision, made.objective.teacher[0]))
    kept = average.clone()
    assert 0 < float((kept - before).abs().max()) < 0.1 * float((now - before).abs().max())
    made.objective.eval()
    with torch.no_grad():
        made.loss(made.signals(4))
    assert torch.equal(kept, average), "it stands still in eval mode"


def test_two_views_of_a_frame_differ_and_are_of_its_size():
    image = torch.randint(256, (4, 20, 30, 3), dtype=torch.uint8)
    first, second = view(image), view(image)
    assert first.shape == image.shape and first.dtype == torch.uint8 and VIEWS.shift >= 8
    assert all(not torch.equal(a, b) for a, b in zip(first, second, strict=True))
