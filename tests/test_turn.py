"""A turn through the language model: the class's own loss, and an objective that is learned from pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_vlms
import torch
from torch import Tensor, nn

from encoders.torchvision_ops import ensure
from workbench.backbones.contract import Backbone
from workbench.backbones.registry import EMBEDDED, load_backbone
from workbench.build import build
from workbench.collect import collect
from workbench.data.lerobot import open_dataset
from workbench.objectives.contract import Given
from workbench.objectives.moments import Moments
from workbench.objectives.questions import known_of, pictures, turns_about
from workbench.objectives.registry import build_objective
from workbench.objectives.rows import SAID
from workbench.objectives.turn import asked, own_head, turn_loss, turn_scores
from workbench.plan import Budget
from workbench.policy import Policy
from workbench.recipes import Expert
from workbench.spec import SLOTS, Spec
from workbench.training.adapt import adapt
from workbench.training.imitate import ActionScale
from workbench.training.train import train

ensure()

from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: E402

CPU = torch.device("cpu")
QUESTIONS = ["point to the red block", "which colours are there"]
ANSWERS = ["<loc05><loc17>", "blue green orange red yellow"]


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def built() -> tuple[Policy, Backbone]:
    policy, backbone = build(Spec(), 0, chunk=4, root=Path())
    return policy.eval(), backbone


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlms.make("llava", tmp_path_factory.mktemp("llava"))


def test_the_loss_is_the_one_of_the_class_with_labels(frames: Tensor, built: tuple[Policy, Backbone]):
    native: Any = AutoModelForImageTextToText.from_pretrained(EMBEDDED, local_files_only=True).eval()
    processor: Any = AutoProcessor.from_pretrained(EMBEDDED, local_files_only=True)
    policy, backbone = built
    losses, tokens = [], []
    for frame, question, answer in zip(frames, QUESTIONS, ANSWERS, strict=True):
        given = processor(images=frame.numpy(), text=f"<image>{question}", suffix=answer, return_tensors="np")
        with torch.no_grad():
            losses.append(native(**{name: torch.from_numpy(np.asarray(v)) for name, v in given.items()}).loss)
            ours = turn_loss(policy, frame[None], [question], [answer], backbone)
        torch.testing.assert_close(ours, losses[-1], rtol=0, atol=1e-5)
        tokens.append(int((np.asarray(given["labels"]) != -100).sum()))
    assert tokens == [3, int(backbone.answers(ANSWERS[1:]).mask_BT.sum())]
    with torch.no_grad():
        both = turn_loss(policy, frames, QUESTIONS, ANSWERS, backbone)
    mean = sum(n * loss for n, loss in zip(tokens, losses, strict=True)) / sum(tokens)
    torch.testing.assert_close(both, mean, rtol=0, atol=1e-5)


def test_the_loss_is_the_one_of_a_causal_class_with_labels(frames: Tensor, llava: Path):
    native: Any = AutoModelForImageTextToText.from_pretrained(llava, local_files_only=True).eval()
    processor: Any = AutoProcessor.from_pretrained(llava, local_files_only=True)
    policy, backbone = build(Spec(backbone=str(llava)), 0, chunk=4, root=Path())
    for frame, question, answer in zip(frames, QUESTIONS, ANSWERS, strict=True):
        said = processor(images=frame.numpy(), text=f"USER: <image>\n{question} ASSISTANT:", return_tensors="pt")
        answer_1S = backbone.answers([answer]).ids_BT
        ids = torch.cat([said["input_ids"], answer_1S], dim=1)
        labels = torch.cat([torch.full_like(said["input_ids"], -100), answer_1S], dim=1)
        with torch.no_grad():
            whole = native(input_ids=ids, pixel_values=policy.vision.pixels_BCHW(frame[None]), labels=labels).loss
            ours = turn_loss(policy.eval(), frame[None], [question], [answer], backbone)
        torch.testing.assert_close(ours, whole, rtol=0, atol=1e-5)


def test_a_question_stands_in_the_chat_without_the_question_about_an_action(
    llava: Path, built: tuple[Policy, Backbone]
):
    backbone = load_backbone(str(llava), weights="pretrained", seed=0)
    tokenizer: Any = AutoProcessor.from_pretrained(llava, local_files_only=True).tokenizer
    assert tokenizer.decode(asked(backbone, QUESTIONS[:1]).ids_BT[0]) == f"USER: \n{QUESTIONS[0]} ASSISTANT:"
    own = load_backbone(str(llava), weights="pretrained", seed=0, prompt="please {instruction}!")
    assert tokenizer.decode(asked(own, QUESTIONS[:1]).ids_BT[0]) == f"USER: \nplease {QUESTIONS[0]}! ASSISTANT:"
    embedded = built[1]
    assert torch.equal(asked(embedded, QUESTIONS).ids_BT, embedded.tokenize(QUESTIONS).ids_BT)


def test_only_a_head_that_is_not_the_embeddings_is_held_and_it_is_frozen(llava: Path, built: tuple[Policy, Backbone]):
    assert len(own_head(*built)) == 0
    assert all(p.requires_grad for p in built[1].lm_head.parameters())
    policy, backbone = build(Spec(backbone=str(llava)), 0, chunk=4, root=Path())
    held = own_head(policy, backbone)
    assert list(held) == [backbone.lm_head] and not any(p.requires_grad for p in held.parameters())


def test_an_answer_is_right_only_where_all_its_tokens_are(frames: Tensor, built: tuple[Policy, Backbone]):
    policy, backbone = built
    said = _said_alone(policy, backbone, frames[:1], QUESTIONS[0])
    wrong = "<loc00>" + said[7:] if not said.startswith("<loc00>") else "<loc01>" + said[7:]
    pictures_BHWC = frames[:1].expand(3, -1, -1, -1)
    found = turn_scores(policy, pictures_BHWC, QUESTIONS[:1] * 3, [said, wrong, f"{said}<loc03>"], backbone)
    assert found.tolist() == [1, 0, 0]


def _said_alone(policy: Policy, backbone: Backbone, image_BHWC: Tensor, question: str) -> str:
    """What the model points to by itself: the two likeliest tokens, one after the other."""
    tokenizer: Any = AutoProcessor.from_pretrained(EMBEDDED, local_files_only=True).tokenizer
    words, ids = asked(backbone, [question]), torch.empty((1, 0), dtype=torch.int64)
    for _ in range(2):
        with torch.no_grad():
            hidden = policy.read(image_BHWC, words, policy.embeddings(ids), torch.ones_like(ids))
            ids = torch.cat([ids, backbone.lm_head(hidden[:, -1]).argmax(-1)[:, None]], dim=1)
    return "".join(tokenizer.convert_ids_to_tokens(ids[0].tolist()))


@dataclass(frozen=True)
class Bench:
    """Demonstrations to learn from, and others to be judged on."""

    seen: Moments
    held_out: Moments


@dataclass(frozen=True)
class Shown:
    """Turns as tensors and texts."""

    image_BHWC: Tensor
    questions: Sequence[str]
    answers: Sequence[str]


SPEC = Spec.model_validate({"head": {"module": "chunk-mlp", "weights": "random", "tune": {"kind": "frozen"}}})


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, built: tuple[Policy, Backbone]) -> Bench:
    root, found = tmp_path_factory.mktemp("turns"), []
    for split, episodes in (("injection", 24), ("selection", 12)):
        recipe = Expert.model_validate({"episodes": episodes, "split": split, "privileged": True})
        dataset = open_dataset(collect(recipe, root / split))
        scale, state = ActionScale(dataset.statistics["action"]), dataset.statistics["observation.state"]
        found.append(Moments(dataset.frames(range(episodes)), scale, state=state, backbone=built[1]))
    return Bench(*found)


def fresh() -> tuple[Policy, Backbone]:
    policy, backbone = build(SPEC, 0, chunk=4, root=Path())
    adapt(policy, SPEC, seed=0)
    return policy, backbone


def drawn(moments: Moments, backbone: Backbone, skill: str, *, size: int, seed: int) -> Iterator[Shown]:
    random, known = np.random.default_rng(seed), known_of(moments, backbone)
    while True:
        turns = turns_about(known, random.integers(len(moments.image), size=size).tolist(), (skill,), random)
        yield Shown(pictures(known, turns), [turn.question for turn in turns], [turn.answer for turn in turns])


def learn(policy: Policy, backbone: Backbone, batches: Iterator[Shown], *, steps: int) -> None:
    def loss(batch: Shown) -> dict[str, Tensor]:
        return {"answers": turn_loss(policy, batch.image_BHWC, batch.questions, batch.answers, backbone)}

    budget = Budget(steps=steps, learning_rate=4e-4, warmup_steps=5)
    for _ in train(policy, batches, loss=loss, budget=budget):
        pass
    policy.eval()


def test_one_batch_is_learned_by_heart(bench: Bench):
    policy, backbone = fresh()
    batch = next(drawn(bench.seen, backbone, "colours", size=6, seed=0))
    before = turn_scores(policy, batch.image_BHWC, batch.questions, batch.answers, backbone)
    learn(policy, backbone, iter(lambda: batch, None), steps=50)
    after = turn_scores(policy, batch.image_BHWC, batch.questions, batch.answers, backbone)
    assert before.mean() == 0 and after.mean() == 1


@pytest.mark.parametrize("name", ["pointing", "captions", "questions:order", "questions:all"])
def test_the_gradient_reaches_what_says_the_answer_and_nothing_else(name: str, bench: Bench):
    policy, backbone = fresh()
    objective = build_objective(name, Given(policy, backbone, bench.seen, 4), seed=0)
    signals = next(bench.seen.batches(8, seed=0, device=CPU))
    for parameter in policy.head.parameters():
        parameter.requires_grad_(True)
    objective.loss(policy, signals)["answers"].backward()
    reached = {slot for slot in SLOTS if any(p.grad is not None and p.grad.any() for p in _slot(policy, slot))}
    assert reached == set(SAID)
    assert not list(objective.parameters())


def _slot(policy: Policy, slot: str) -> list[nn.Parameter]:
    return list(policy.get_submodule(slot).parameters())


def test_what_is_asked_is_a_function_of_the_global_generator(bench: Bench, built: tuple[Policy, Backbone]):
    policy, backbone = built
    objective = build_objective("questions:all", Given(policy, backbone, bench.seen, 4), seed=0)
    signals, found = next(bench.seen.batches(4, seed=0, device=CPU)), []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            found.append(float(objective.loss(policy, signals)["answers"]))
    assert found[0] == found[1] != found[2]


@pytest.mark.slow
def test_pictures_teach_what_a_blank_one_and_other_pictures_answers_do_not(bench: Bench):
    found = {}
    for kind in ("own", "blank", "permuted"):
        policy, backbone = fresh()
        learn(
            policy,
            backbone,
            (_made(batch, kind) for batch in drawn(bench.seen, backbone, "pointing", size=16, seed=1)),
            steps=40,
        )
        test = next(drawn(bench.held_out, backbone, "pointing", size=120, seed=2))
        test = _made(test, "blank" if kind == "blank" else "own")
        with torch.no_grad():
            found[kind] = float(turn_loss(policy, test.image_BHWC, test.questions, test.answers, backbone))
    assert found["own"] < 0.5 * found["blank"], found
    assert found["permuted"] > 0.9 * found["blank"], found


def _made(batch: Shown, kind: str) -> Shown:
    """The turns as they are, about a grey picture, or with the answers of other turns."""
    match kind:
        case "blank":
            return replace(batch, image_BHWC=torch.full_like(batch.image_BHWC, 128))
        case "permuted":
            return replace(batch, answers=[*batch.answers[1:], batch.answers[0]])
        case _:
            return batch
