"""FAST tokens through the language model: they are said from picture and words, and recorded with the run."""

import copy
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
import torch
from published_tokens import write_published
from torch import Tensor, nn

from ablations.runs import injection_plan
from ablations.study import Study
from workbench.backbones.contract import Backbone, Words
from workbench.build import build
from workbench.collect import collect, open_data
from workbench.errors import UserError
from workbench.execute import execute
from workbench.objectives.contract import Given
from workbench.objectives.fast import Fast
from workbench.objectives.fast_tokens import FastTokens
from workbench.objectives.moments import Moments, Signals
from workbench.objectives.registry import build_objective
from workbench.plan import Budget, Inject, run_id
from workbench.policy import Policy
from workbench.recipes import Expert
from workbench.record import collected_folder, open_record
from workbench.spec import SLOTS, Frozen, Slot, SlotName, Spec
from workbench.training.imitate import ActionScale
from workbench.training.train import train

# B moments  K steps  A action dimensions

CPU = torch.device("cpu")
DATA = Expert(episodes=12, split="injection", noise=0.0)
CHUNK = 4


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root that holds the demonstrations; tests add runs to it."""
    root = tmp_path_factory.mktemp("runs")
    collect(DATA, collected_folder(root, DATA))
    return root


@pytest.fixture(scope="module")
def built() -> tuple[Policy, Backbone]:
    return build(Spec(), 0, chunk=CHUNK, root=Path())


@pytest.fixture(scope="module")
def moments(root: Path, built: tuple[Policy, Backbone]) -> Moments:
    return moments_of(DATA, root, built[1])


@pytest.fixture(scope="module")
def given(moments: Moments, built: tuple[Policy, Backbone]) -> Given:
    return Given(*built, moments, CHUNK)


@pytest.fixture(scope="module")
def fast(given: Given) -> Fast:
    return objective(given)


def moments_of(data: Expert, root: Path, backbone: Backbone, *, measured: Expert | None = None) -> Moments:
    """Normalised by the statistics of `measured`, or by their own."""
    dataset, statistics = open_data(root, data), open_data(root, measured or data).statistics
    scale, state = ActionScale(statistics["action"]), statistics["observation.state"]
    return Moments(dataset.frames(range(len(dataset.episodes))), scale, state=state, backbone=backbone)


def objective(given: Given, name: str = "fast-tokens") -> Fast:
    found = build_objective(name, given, seed=0)
    assert isinstance(found, Fast)
    return found


def batch_of(source: Moments, size: int = 24, seed: int = 0) -> Signals:
    return next(source.batches(size, seed=seed, device=CPU))


def every(source: Moments) -> Signals:
    rows = torch.arange(len(source.image))
    return Signals(source, rows, CPU, tuple(rows.tolist()))


Seen = Callable[[Signals], Signals]


def taught(
    given: Given,
    batches: Iterator[Signals],
    *,
    budget: Budget,
    seen: Seen = lambda batch: batch,
    name: str = "fast-tokens",
) -> tuple[Fast, Policy]:
    """The objective and a policy after training, whose every slot moved but the head."""
    policy, fast = copy.deepcopy(given.policy), objective(given, name)
    model = nn.ModuleDict({"policy": policy, "objective": fast})
    for _ in train(model, batches, loss=lambda batch: fast.loss(policy, seen(batch)), budget=budget):
        pass
    return fast, policy


@torch.no_grad()
def loss_of(fast: Fast, policy: Policy, *batches: Signals) -> float:
    return float(np.mean([float(fast.loss(policy, batch)["tokens"]) for batch in batches]))


def test_the_tokens_are_those_of_the_next_actions_and_an_end(fast: Fast, moments: Moments):
    signals = every(moments)
    rows, (action_BKA, padded_BK) = fast.answers(signals), signals.actions(CHUNK)
    assert padded_BK[-1].tolist() == [False, True, True, True]
    for ids, mask, chunk_KA in zip(rows.ids_BT, rows.mask_BT, action_BKA.numpy(), strict=True):
        row = ids[mask.bool()].tolist()
        assert row == [*fast.tokens.encode(chunk_KA), fast.end] and fast.end == fast.tokens.vocabulary
    assert rows.ids_BT.shape[1] == fast.longest == rows.mask_BT.sum(dim=1).max()


def test_the_text_keeps_its_vocabulary_and_new_vectors_are_as_long_as_its_own(fast: Fast, given: Given):
    words = given.moments.words.ids_BT[given.moments.words.mask_BT.bool()]
    text_TE = given.policy.embeddings(words)
    assert fast.embed.weight.shape == (fast.tokens.vocabulary, text_TE.shape[1])
    torch.testing.assert_close(fast.embed.weight.pow(2).mean(), text_TE.pow(2).mean(), rtol=0.05, atol=0)
    assert fast.readout.out_features == fast.tokens.vocabulary + 1
    own = {id(p) for p in fast.parameters()}
    assert not own & {id(p) for p in (*given.policy.parameters(), *given.backbone.lm_head.parameters())}


@torch.no_grad()
def test_the_loss_is_the_mean_over_real_tokens_each_read_behind_those_before_it(fast: Fast, given: Given):
    batch, policy = batch_of(given.moments, 6), given.policy
    costs = []
    for row in batch.frames:  # one moment and one token at a time: nothing is padded, nothing later is there to see
        one = Signals(given.moments, torch.tensor([row]), CPU, (row,))
        ids = fast.answers(one).ids_BT[0]
        for length, wanted in enumerate(ids.tolist()):
            said_1SE = fast.embed(ids[None, :length])
            hidden = policy.read(one.image_BHWC, one.words, said_1SE, torch.ones((1, length), dtype=torch.int64))
            costs.append(-float(fast.readout(hidden[0, -1]).log_softmax(dim=-1)[wanted]))
    assert len({len(fast.answers(batch).ids_BT[0]), *fast.answers(batch).mask_BT.sum(dim=1).tolist()}) > 1
    assert loss_of(fast, policy, batch) == pytest.approx(np.mean(costs), rel=1e-4)


@pytest.mark.slow
def test_it_overfits_one_batch_and_then_says_it(given: Given):
    batch = batch_of(given.moments, 16)
    fast, policy = taught(given, repeat(batch), budget=Budget(steps=70, learning_rate=2e-3, warmup_steps=5))
    scores = fast.score(policy, batch)
    print(f"after 70 steps on one batch: loss {loss_of(fast, policy, batch):.3f}, {scores}")
    assert loss_of(fast, policy, batch) < 0.1 and scores["accuracy"] > 0.97 and scores["malformed"] == 0
    action_BKA, _ = batch.actions(CHUNK)
    said_BKA = np.stack([fast.tokens.decode(row) for row in fast.say(policy, batch.image_BHWC, batch.words)])
    assert scores["error"] == pytest.approx(np.sqrt(np.mean((said_BKA - action_BKA.numpy()) ** 2)), rel=1e-5)
    assert scores["error"] < 0.1


def is_chunk(tokens: FastTokens, row: list[int]) -> bool:
    letters = [tokens.tokenizer.id_to_token(id) or "" for id in row]
    return sum(map(len, letters)) == CHUNK * 7


def test_a_model_that_was_taught_nothing_says_what_is_no_chunk(fast: Fast, given: Given):
    batch = batch_of(given.moments, 8)
    rows = fast.say(given.policy, batch.image_BHWC, batch.words)
    assert all(len(row) <= fast.longest and fast.end not in row for row in rows)
    scores = fast.score(given.policy, batch)
    assert scores["malformed"] == np.mean([not is_chunk(fast.tokens, row) for row in rows]) > 0.5
    assert 0 <= scores["accuracy"] < 0.2


def test_a_chunk_longer_than_in_training_is_refused(fast: Fast, moments: Moments):
    longer_BKA, _ = batch_of(moments, 1).actions(CHUNK + 1)
    with pytest.raises(ValueError, match=r"a chunk here is \[4, 7\], not \[5, 7\]"):
        fast.tokens.encode(longer_BKA[0].numpy())


@dataclass(frozen=True)
class Blank(Signals):
    """Moments of which neither picture nor words are seen."""

    nothing: Words = field(repr=False)

    @property
    def image_BHWC(self) -> Tensor:
        return torch.zeros_like(super().image_BHWC)

    @property
    def words(self) -> Words:
        count = len(self.frames)
        return Words(self.nothing.ids_BT.expand(count, -1), self.nothing.mask_BT.expand(count, -1))


@dataclass(frozen=True)
class Permuted(Signals):
    """Moments whose chunks are those of others in the batch."""

    others_B: Tensor = field(repr=False)

    def actions(self, steps: int) -> tuple[Tensor, Tensor]:
        action_BKA, padded_BK = super().actions(steps)
        return action_BKA[self.others_B], padded_BK


@pytest.mark.slow
def test_what_is_learned_holds_in_other_episodes_and_not_where_chunks_are_permuted(
    built: tuple[Policy, Backbone], tmp_path: Path
):
    """Against the distribution of the tokens alone, as it is learned where pictures and words are blank.

    The tokens are coarse ones of single actions, of which a short training learns enough.
    """
    recipe = Expert(tasks=("reach", "lift"), episodes=150, split="injection", noise=0.0)
    other = recipe.model_copy(update={"split": "finetune", "episodes": 20})
    for data in (recipe, other):
        collect(data, collected_folder(tmp_path, data))
    seen = moments_of(recipe, tmp_path, built[1])
    held_out = moments_of(other, tmp_path, built[1], measured=recipe)
    write_published(tmp_path / "coarse", every(seen).actions(1)[0].numpy(), scale=2.0, lowest=-8, vocabulary=64)
    given, name = Given(*built, seen, 1), f"fast-tokens:{tmp_path / 'coarse'}"
    nothing, budget = built[1].tokenize([""]), Budget(steps=110, warmup_steps=10)

    def itself(batch: Signals) -> Signals:
        return batch

    def blank(batch: Signals) -> Signals:
        return Blank(batch.source, batch.rows_B, batch.device, batch.frames, nothing)

    def permuted(batch: Signals) -> Signals:
        others_B = torch.from_numpy(np.random.default_rng(batch.frames).permutation(len(batch.frames)))
        return Permuted(batch.source, batch.rows_B, batch.device, batch.frames, others_B)

    def found(seeing: Seen, judged: Seen) -> float:
        model = taught(given, seen.batches(32, seed=0, device=CPU), budget=budget, seen=seeing, name=name)
        return loss_of(*model, *(judged(batch_of(held_out, 64, seed)) for seed in range(4)))

    trivial, learned, destroyed = found(blank, blank), found(itself, itself), found(permuted, itself)
    print(f"trivial {trivial:.3f} held out {learned:.3f} permuted {destroyed:.3f}")
    assert learned < 0.93 * trivial and destroyed > 0.96 * trivial


TRAINED: tuple[tuple[SlotName, ...], ...] = (
    ("vision",),
    ("embeddings", "language"),
    ("vision", "projector", "embeddings", "language"),
)


@pytest.mark.parametrize("trained", TRAINED, ids=("vision only", "language only", "both"))
def test_an_injection_moves_what_its_spec_says_and_keeps_its_tokenizer(trained: tuple[SlotName, ...], root: Path):
    still = {name: Slot(tune=Frozen()) for name in SLOTS[:-1] if name not in trained}
    head = Slot(module="chunk-mlp", weights="random", tune=Frozen())
    spec = Spec.model_validate({**still, "head": head})
    plan = Inject(objective="fast-tokens", spec=spec, data=DATA, budget=Budget(steps=5, batch=8, warmup_steps=1))
    execute(plan, root)
    record = open_record(root, run_id(plan))
    assert record.error is None
    rows = {row["slot"]: row for row in record.ledger()["rows"]}
    assert {slot for slot, row in rows.items() if row["before"] != row["after"]} == set(trained)
    assert all(rows[slot]["gradient"] == rows[slot]["tensors"] > 0 for slot in trained)
    tokens = FastTokens.from_json((record.folder / "action_tokenizer.json").read_text())
    told = json.loads((record.folder / "result.json").read_text())["objective"]
    assert (told["scale"], told["vocabulary"]) == (10, tokens.vocabulary) and tokens.vocabulary <= 256
    assert (tokens.steps, tokens.actions) == (plan.budget.chunk, 7)
    assert 1 < told["tokens-per-chunk"] < 28 and 0 < told["round-trip-error"] < 0.03


def test_what_is_told_is_measured_on_the_studys_chunks(fast: Fast, moments: Moments):
    action_BKA, _ = every(moments).actions(CHUNK)
    lengths = [len(fast.tokens.encode(chunk_KA)) for chunk_KA in action_BKA.numpy()]
    assert fast.told() == {
        "scale": 10.0,
        "vocabulary": fast.tokens.vocabulary,
        "tokens-per-chunk": pytest.approx(np.mean(lengths)),
        "round-trip-error": fast.tokens.round_trip_error(action_BKA.numpy()),
    }


def test_tokens_are_as_coarse_as_the_objective_says(given: Given):
    told = {name: objective(given, name).told() for name in ("fast-tokens", "fast-tokens:scale=2,vocabulary=64")}
    usual, coarse = told.values()
    assert (usual["scale"], coarse["scale"]) == (10, 2) and coarse["vocabulary"] == 64 < usual["vocabulary"] <= 256
    assert coarse["round-trip-error"] > 2 * usual["round-trip-error"]


def test_what_is_left_out_of_the_settings_is_as_usual(given: Given):
    usual, scale, vocabulary = (
        objective(given, name).told() for name in ("fast-tokens", "fast-tokens:scale=5", "fast-tokens:vocabulary=128")
    )
    assert scale["scale"] == 5 and vocabulary["vocabulary"] == 128
    assert vocabulary["scale"] == usual["scale"] and vocabulary["round-trip-error"] == usual["round-trip-error"]
    assert scale["vocabulary"] > 128


def test_a_published_tokenizer_takes_the_place_of_the_fitted_one(given: Given, tmp_path: Path):
    action_BKA, _ = every(given.moments).actions(CHUNK)
    write_published(tmp_path / "own", action_BKA.numpy(), scale=20.0)
    fast = objective(given, f"fast-tokens:{tmp_path / 'own'}")
    assert fast.told()["scale"] == 20 and fast.told()["round-trip-error"] < objective(given).told()["round-trip-error"]
    assert math.isfinite(loss_of(fast, given.policy, batch_of(given.moments)))


def test_a_published_tokenizer_that_lacks_numbers_of_these_actions_is_refused(given: Given, tmp_path: Path):
    write_published(tmp_path / "own", np.zeros((4, CHUNK, 7), np.float32), lowest=-200)
    with pytest.raises(UserError, match="cannot write these actions .*fit one on the study's own"):
        objective(given, f"fast-tokens:{tmp_path / 'own'}")


def test_a_published_tokenizers_content_is_part_of_the_runs_id(root: Path, tmp_path: Path):
    folder = tmp_path / "own"
    write_published(folder, np.zeros((4, CHUNK, 7), np.float32))
    injection = {"objective": f"fast-tokens:{folder}", "data": DATA, "budget": {"steps": 1, "batch": 2}}
    study = Study.model_validate(
        {
            "name": "own",
            "question": "?",
            "data": {"kind": "expert"},
            "budget": {"steps": 1},
            "protocol": {},
            "injections": {"fast": injection},
            "arms": [{"name": "all-trained"}],
        }
    )
    before = injection_plan(study, "fast")
    assert run_id(injection_plan(study, "fast")) == run_id(before) and set(before.contents) == {str(folder)}
    config = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps(config | {"scale": 5}))
    assert run_id(injection_plan(study, "fast")) != run_id(before)
    with pytest.raises(UserError, match="has changed since it was planned"):
        execute(before, root)
