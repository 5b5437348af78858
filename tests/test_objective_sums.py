"""Sums of objectives: how they are written, what they are then said to be, and the anchors that stand in them only."""

import copy
from itertools import repeat
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from workbench.build import build
from workbench.collect import collect, open_data
from workbench.errors import UserError
from workbench.objectives.anchors import KeepFeatures, KeepWeights, trained_values
from workbench.objectives.contract import Given, Sum
from workbench.objectives.facts import Term, facts, spelled, terms
from workbench.objectives.moments import Moments, Signals
from workbench.objectives.registry import build_objective
from workbench.objectives.rows import OBJECTIVES, Facts
from workbench.plan import Budget, Inject, run_id
from workbench.policy import Policy
from workbench.recipes import Expert
from workbench.record import collected_folder
from workbench.spec import SLOTS, Frozen, Full, LastBlocks, Lora, Slot, Spec, Tune
from workbench.training.adapt import adapt
from workbench.training.imitate import ActionScale
from workbench.training.train import train

CPU = torch.device("cpu")
DATA = Expert(tasks=("reach",), episodes=4)
CHUNK = 4


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    """Nothing of it is trained: copy the policy."""
    root = tmp_path_factory.mktemp("runs")
    collect(DATA, collected_folder(root, DATA))
    policy, backbone = build(Spec(), 0, chunk=CHUNK, root=Path())
    dataset = open_data(root, DATA)
    scale, state = ActionScale(dataset.statistics["action"]), dataset.statistics["observation.state"]
    return Given(policy, backbone, Moments(dataset.frames(range(4)), scale, state=state, backbone=backbone), CHUNK)


def tuned(given: Given, tune: Tune) -> Given:
    """The same, its encoder tuned so and nothing else."""
    policy, still = copy.deepcopy(given.policy), Slot(tune=Frozen())
    others = {slot: still for slot in SLOTS if slot not in ("vision", "head")}
    head = Slot(module="chunk-mlp", weights="random", tune=Frozen())
    adapt(policy, Spec.model_validate({**others, "head": head, "vision": Slot(tune=tune)}), seed=0)
    return Given(policy, given.backbone, given.moments, CHUNK)


def batch_of(moments: Moments) -> Signals:
    return next(moments.batches(8, seed=0, device=CPU))


def figures(objective: str, given: Given) -> dict[str, float]:
    with torch.no_grad():
        parts = build_objective(objective, given, seed=0).loss(given.policy, batch_of(given.moments))
    return {name: float(part) for name, part in parts.items()}


WRITTEN = {
    "state": "state",
    " state ": "state",
    "1*state": "state",
    "0.5*state": "0.5*state",
    "state + 0.5*progress": "state + 0.5*progress",
    "state+0.5*progress": "state + 0.5*progress",
    "state +  5e-1 * progress": "state + 0.5*progress",
    "2*state+progress+0.1*keep-features": "2*state + progress + 0.1*keep-features",
    "1e+20*state+progress": "1e+20*state + progress",
    "0.1234567*state": "0.1234567*state",
    "distillation:random:tiny": "distillation:random:tiny",
    "distillation: random:tiny +state": "distillation:random:tiny + state",
    "distillation:fused:dinov2-small+siglip-base+2*state": "distillation:fused:dinov2-small+siglip-base + 2*state",
    "distillation:tiny@a*b.pt + 3*distillation:tiny": "distillation:tiny@a*b.pt + 3*distillation:tiny",
    "fast-tokens+state": "fast-tokens + state",
}


@pytest.mark.parametrize("text", WRITTEN)
def test_an_objective_has_one_spelling_and_it_is_its_own(text: str):
    assert spelled(text) == WRITTEN[text] == spelled(WRITTEN[text])


def test_terms_are_a_weight_a_name_and_a_choice():
    assert terms("2*state + distillation:fused:a+b@c") == (
        Term(2.0, "state", ""),
        Term(1.0, "distillation", "fused:a+b@c"),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("state + state", "'state \\+ state' names one of its parts twice: add their weights"),
        ("state + 2*state", "names one of its parts twice"),
        ("distillation:tiny + 2*distillation:tiny", "names one of its parts twice"),
        ("keep-weights", "'keep-weights' only holds the encoder where it is: add one that teaches it"),
        ("keep-weights + 2*keep-features", "only holds the encoder where it is"),
        ("0*state", "above 0, and not 0 as in '0\\*state'"),
        ("state + -1*progress", "above 0, and not -1"),
        ("nan*state", "above 0, and not nan"),
        ("inf*state", "above 0, and not inf"),
        ("half*state", "The weight 'half' in 'half\\*state' is no number: write 0.5\\*pointing"),
        ("*state", "The weight '' in '\\*state' is no number"),
        ("stat", "No objective named 'stat'. Did you mean 'state'"),
        ("progress + stat", "No objective named 'stat'. Did you mean 'state'"),
        ("progress+stat", "No objective named 'progress\\+stat'. Did you mean 'progress'"),
        ("state + ", "No objective named ''"),
        ("distillation", "The objective 'distillation' needs an encoder behind a colon: distillation:…"),
        ("distillation: + state", "The objective 'distillation' needs an encoder behind a colon"),
        ("state:tip", "'state' takes nothing behind a colon, but 'state:tip' gives 'tip'"),
    ],
)
def test_what_is_no_objective_is_refused_with_the_reason(text: str, said: str):
    for read in (terms, spelled, facts):
        with pytest.raises(UserError, match=said):
            read(text)
    with pytest.raises(ValidationError, match=said):
        Inject(objective=text, spec=Spec(), data=DATA, budget=Budget(steps=1))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_is_spelled_as_it_is_named(name: str):
    one = OBJECTIVES[name]
    needed = bool(one.choice) and not one.choice.startswith("optional")
    text = f"{name}:{'pointing' if name == 'questions' else 'tiny'}" if needed else name
    assert spelled(f"state + 0.5*{text}" if one.anchor else text).endswith(text) and "+" not in name


def test_runs_of_one_objective_have_one_id_however_it_is_written():
    ids = {
        text: run_id(Inject(objective=text, spec=Spec(), data=DATA, budget=Budget(steps=1)))
        for text in ("state + 0.5*progress", "state+0.5*progress", " 1.0*state  +  .50*progress", "progress + state")
    }
    assert len(set(ids.values())) == 2 and ids["state + 0.5*progress"] != ids["progress + state"]


def test_a_sum_reads_and_reaches_what_any_part_does():
    found = facts("fast-tokens + progress + behaviour-cloning")
    assert found.reads == ("instruction", "actions", "last picture", "progress")
    assert found.reaches == SLOTS and facts("state + fast-tokens").reaches == SLOTS[:-1]
    assert (facts("state + depth").privileged, facts("state + progress").privileged) == (True, False)
    assert found.paper.split("; ")[-1] == "arXiv:2601.03309, §4.4" and found.does.count("; ") == 2


@pytest.mark.parametrize(
    ("objective", "control", "still"),
    [
        ("masked-image", True, False),
        ("masked-image + language-only", True, False),
        ("masked-image + keep-weights", True, False),
        ("keep-weights + keep-features + masked-image", True, False),
        ("masked-image + state", False, False),
        ("state + keep-weights", False, False),
        ("keep-features + state", False, False),
        ("sham + state", False, False),
        ("sham + masked-image", True, False),
        ("sham", True, True),
        ("sham + keep-features", True, True),
    ],
)
def test_a_sum_is_a_control_or_still_where_all_that_teach_are(objective: str, control: bool, still: bool):
    found: Facts = facts(objective)
    assert (found.control, found.still, found.anchor) == (control, still, False)


def test_weights_scale_the_parts_which_keep_their_names(given: Given):
    """Own parameters differ from those of an objective alone: the second is drawn after the first."""
    plain, weighted = figures("state + action-regression", given), figures("2*state + 0.25*action-regression", given)
    assert list(plain) == list(weighted) == ["state/state", "action-regression/arm", "action-regression/gripper"]
    factors = {"state/state": 2.0, "action-regression/arm": 0.25, "action-regression/gripper": 0.25}
    assert weighted == pytest.approx({name: factors[name] * value for name, value in plain.items()})
    assert plain["state/state"] == pytest.approx(figures("state", given)["state"])


def test_an_objective_with_a_weight_is_a_sum_of_one(given: Given):
    assert isinstance(build_objective("0.5*state", given, seed=0), Sum)
    assert not isinstance(build_objective("state", given, seed=0), Sum)
    assert figures("0.5*state", given)["state/state"] == pytest.approx(0.5 * figures("state", given)["state"])


@pytest.mark.parametrize("anchor", ["keep-weights", "keep-features"])
def test_an_anchor_is_zero_where_training_begins_and_grows_with_what_moves(anchor: str, given: Given):
    given = tuned(given, Full())
    objective = build_objective(f"state + {anchor}", given, seed=0)
    found = []
    for _ in range(3):
        with torch.no_grad():
            parts = objective.loss(given.policy, batch_of(given.moments))
            for parameter in given.policy.vision.parameters():
                parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
        found.append(float(next(value for name, value in parts.items() if name.startswith(anchor))))
    assert found[0] == pytest.approx(0, abs=1e-6) and 1e-4 < found[1] < found[2]


def test_keep_weights_is_the_sum_of_squared_differences_of_what_is_trained(given: Given):
    given = tuned(given, LastBlocks(blocks=1))
    objective, squares = KeepWeights(given), 0.0
    with torch.no_grad():
        for parameter in given.policy.vision.parameters():
            parameter += 0.5
            squares += 0.25 * parameter.numel() * parameter.requires_grad
    assert any(not p.requires_grad for p in given.policy.vision.parameters())
    (found,) = objective.loss(given.policy, batch_of(given.moments)).values()
    assert found.item() == pytest.approx(squares, rel=1e-4)


@pytest.mark.parametrize("dora", [False, True])
def test_of_a_low_rank_update_keep_weights_counts_the_update_itself(dora: bool, given: Given):
    given = tuned(given, Lora(rank=2, alpha=6, dora=dora))
    objective, named = KeepWeights(given), dict(given.policy.vision.named_parameters())
    factors = {name: p for name, p in named.items() if ".lora_B." in name}
    with torch.no_grad():
        for index, up in enumerate(factors.values()):
            up += torch.randn(up.shape, generator=torch.Generator().manual_seed(index))
        products = [up @ named[name.replace(".lora_B.", ".lora_A.")] for name, up in factors.items()]
        wanted = sum(float((6 / 2 * product).square().sum()) for product in products)
        magnitudes = [p for name, p in named.items() if ".lora_magnitude_vector." in name]
        for magnitude in magnitudes:
            magnitude += 2
    wanted += sum(4 * magnitude.numel() for magnitude in magnitudes)
    assert factors and bool(magnitudes) == dora
    (found,) = objective.loss(given.policy, batch_of(given.moments)).values()
    assert found.item() == pytest.approx(wanted, rel=1e-4)
    found.backward()
    reached = {name for name, p in given.policy.vision.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == set(factors) | {name for name in named if ".lora_A." in name or ".lora_magnitude" in name}


def test_what_is_frozen_is_not_among_the_trained_values(given: Given):
    assert set(trained_values(tuned(given, Full()).policy.vision)) == set(dict(given.policy.vision.named_parameters()))
    assert (
        trained_values(tuned(given, LastBlocks(blocks=1)).policy.vision).keys()
        < trained_values(tuned(given, Full()).policy.vision).keys()
    )


def test_keep_features_compares_with_a_copy_that_does_not_move(given: Given):
    given = tuned(given, Lora(rank=2, dropout=0.5))
    objective, batch = KeepFeatures(given), batch_of(given.moments)
    before = objective.before(batch.image_BHWC)
    assert not objective.before.training and not any(p.requires_grad for p in objective.parameters())
    with torch.no_grad():
        for parameter in given.policy.vision.parameters():
            parameter += 0.1
        assert torch.equal(objective.before(batch.image_BHWC), before)
        now = given.policy.vision.eval()(batch.image_BHWC)
        wanted = 1 - nn.functional.cosine_similarity(now, before, dim=-1).mean()
        (found,) = objective.loss(given.policy, batch).values()
    assert float(found) == pytest.approx(float(wanted)) and float(found) > 0.01


@pytest.mark.parametrize("tune", [Full(), Lora(rank=4)], ids=["full", "lora"])
@pytest.mark.parametrize(("anchor", "weight"), [("keep-weights", 10), ("keep-features", 10)])
def test_an_anchored_encoder_stays_nearer_to_where_it_was(anchor: str, weight: int, tune: Tune, given: Given):
    loose, held = (
        _moved(tuned(given, tune), objective, anchor)
        for objective in (f"state + 1e-9*{anchor}", f"state + {weight}*{anchor}")
    )
    assert 0 < held < 0.5 * loose


def _moved(given: Given, objective: str, anchor: str) -> float:
    """How far the anchor finds the encoder after a few steps."""
    policy: Policy = given.policy
    judge = {"keep-weights": KeepWeights, "keep-features": KeepFeatures}[anchor](given)
    made, budget = build_objective(objective, given, seed=0), Budget(steps=12, learning_rate=3e-3, warmup_steps=1)
    model = nn.ModuleDict({"policy": policy.vision, "objective": made})
    for _ in train(model, repeat(batch_of(given.moments)), loss=lambda batch: made.loss(policy, batch), budget=budget):
        pass
    with torch.no_grad():
        return float(sum(judge.loss(policy, batch_of(given.moments)).values()))
