"""The training loop: what it promises about every step, on models small enough to check by hand."""

import math
from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

from workbench.errors import NotFinite
from workbench.plan import Budget
from workbench.training.train import learning_rate, train

WIDTH = 6


@pytest.fixture
def model() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, 1)


def batches(seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(1.0, WIDTH + 1)[:, None]
    while True:
        x = torch.randn(16, WIDTH, generator=generator)
        yield x, x @ truth


def squared(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
    x, y = batch
    return {"error": (model(x) - y).pow(2).mean(), "size": 0.01 * model.weight.pow(2).sum()}


def run(model: nn.Module, budget: Budget, **more):
    return list(train(model, batches(), loss=lambda batch: squared(model, batch), budget=budget, **more))


def test_the_loss_falls_and_every_step_is_yielded_in_order(model):
    steps = run(model, Budget(steps=200, learning_rate=0.1, warmup_steps=5))
    assert [step.index for step in steps] == list(range(200))
    assert steps[-1].loss < 0.02 * steps[0].loss
    for step in steps:
        assert step.loss == pytest.approx(sum(step.parts.values()), rel=1e-6) and set(step.parts) == {"error", "size"}
        spent = step.seconds
        assert min(spent.data, spent.forward, spent.backward, spent.optimiser) > 0 and math.isfinite(step.grad_norm)


def test_the_rate_warms_up_linearly_and_then_follows_half_a_cosine():
    budget = Budget(steps=110, learning_rate=2.0, warmup_steps=9, schedule="cosine")
    rates = [learning_rate(budget, step) for step in range(110)]
    assert rates[:9] == pytest.approx([0.2 * (step + 1) for step in range(9)])
    assert rates[9] == 2.0 == max(rates)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    middle = 9 + 101 / 2
    assert (rates[math.floor(middle)] + rates[math.ceil(middle)]) / 2 == pytest.approx(1.0, abs=1e-6)
    assert 0 < rates[-1] < 0.002


def test_a_constant_rate_stays_after_the_warm_up():
    budget = Budget(steps=50, learning_rate=0.3, warmup_steps=4, schedule="constant")
    assert {learning_rate(budget, step) for step in range(4, 50)} == {0.3}
    assert learning_rate(Budget(steps=5, learning_rate=0.3, warmup_steps=0), 0) == 0.3


def test_the_rate_that_is_reported_is_the_rate_that_is_used(model):
    """Adam's first step moves every weight by the rate, whatever the gradient's size."""
    before = model.weight.detach().clone()
    step = run(model, Budget(steps=1, learning_rate=0.01, warmup_steps=3, weight_decay=0.0))[0]
    assert step.learning_rate == pytest.approx(0.01 / 4)
    torch.testing.assert_close(
        (model.weight.detach() - before).abs(), torch.full_like(before, step.learning_rate), rtol=1e-3, atol=0
    )


def test_gradients_are_really_clipped(model):
    clip, norms = 0.5, []

    def after() -> None:
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        norms.append(float(torch.cat([g.flatten() for g in grads]).norm()))

    steps = run(model, Budget(steps=5, learning_rate=1e-3, clip_norm=clip), after_backward=after)
    assert all(step.grad_norm > 4 * clip for step in steps)  # what is reported is the norm before clipping
    assert norms == pytest.approx([clip] * 5, rel=1e-4)


def test_a_small_gradient_is_left_alone(model):
    norms = []
    steps = run(
        model,
        Budget(steps=3, learning_rate=1e-3, clip_norm=1e6),
        after_backward=lambda: norms.append(torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()),
    )
    assert norms == pytest.approx([step.grad_norm for step in steps], rel=1e-5)


def test_weight_decay_is_decoupled_from_the_gradient():
    """AdamW: with no gradient at all a weight shrinks by rate × decay."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    budget = Budget(steps=1, learning_rate=0.1, warmup_steps=0, weight_decay=0.5, schedule="constant")
    list(train(model, batches(), loss=lambda _: {"none": 0.0 * model.weight.sum()}, budget=budget))
    assert model.weight.item() == pytest.approx(1 - 0.1 * 0.5)


def test_a_parameters_factor_scales_its_step_and_no_other(model):
    """Adam's first step moves every weight by the rate, so what moved is the rate that was used."""
    before = [p.detach().clone() for p in model.parameters()]
    budget = Budget(steps=1, learning_rate=0.01, warmup_steps=0)
    step = run(model, budget, rate_of={"weight": 0.1, "bias": 1.0}.__getitem__)[0]
    moved = [(p.detach() - old).abs() for p, old in zip(model.parameters(), before, strict=True)]
    assert step.learning_rate == pytest.approx(0.01)  # the budget's is the one that is reported
    torch.testing.assert_close(moved[0], torch.full_like(moved[0], 0.001), rtol=1e-2, atol=0)
    torch.testing.assert_close(moved[1], torch.full_like(moved[1], 0.01), rtol=1e-2, atol=0)


def test_factors_follow_the_schedule_and_one_more_factor_is_one_more_group(model, monkeypatch):
    made: list[torch.optim.AdamW] = []

    class Seen(torch.optim.AdamW):
        def __init__(self, *given, **more):
            super().__init__(*given, **more)
            made.append(self)

    monkeypatch.setattr(torch.optim, "AdamW", Seen)
    budget = Budget(steps=4, learning_rate=0.01, warmup_steps=1)
    run(model, budget)
    run(model, budget, rate_of=lambda name: 0.5 if name == "weight" else 1.0)
    last = learning_rate(budget, 3)
    assert [[group["lr"] for group in one.param_groups] for one in made] == [[last], [0.5 * last, last]]


def test_only_what_requires_a_gradient_is_trained(model):
    model.bias.requires_grad_(False)
    before = [p.detach().clone() for p in model.parameters()]
    run(model, Budget(steps=3))
    assert not torch.equal(model.weight, before[0]) and torch.equal(model.bias, before[1])


class Poisoned(torch.autograd.Function):
    """The identity, with a gradient of NaN."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[override]
        return x.clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad * math.nan


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_stops_the_run_before_the_optimiser_could_use_it(model, where, bad):
    poisoned, kept = 3, {}

    def numbered() -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
        yield from enumerate(batches())

    def loss(batch: tuple[int, tuple[Tensor, Tensor]]) -> Mapping[str, Tensor]:
        index, (x, y) = batch
        parts = dict(squared(model, (x, y)))
        if index == poisoned:
            kept["weights"] = [p.detach().clone() for p in model.parameters()]
            parts["error"] = parts["error"] * bad if where == "loss" else Poisoned.apply(parts["error"])
        return parts

    steps = train(model, numbered(), loss=loss, budget=Budget(steps=10, learning_rate=0.1))
    found = []
    with pytest.raises(NotFinite) as stopped:
        for step in steps:
            found.append(step)
    assert [step.index for step in found] == [0, 1, 2]
    message = str(stopped.value)
    assert f"{where} is not finite at step {poisoned}" in message and "'size':" in message and "'error':" in message
    assert f"({poisoned}, (tensor" in message  # the batch says which one it is
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), kept["weights"], strict=True))


def test_the_same_seed_gives_the_same_bits_twice():
    weights = []
    for _ in range(2):
        torch.manual_seed(4)
        model = nn.Linear(WIDTH, 1)
        run(model, Budget(steps=20))
        weights.append(model.weight.detach().clone())
    assert torch.equal(*weights)


def test_too_few_batches_are_an_error_and_not_a_shorter_training(model):
    few = [next(batches())] * 2
    with pytest.raises(RuntimeError):
        list(train(model, few, loss=lambda batch: squared(model, batch), budget=Budget(steps=3)))
