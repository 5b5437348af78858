"""Every head keeps one contract: a loss that ignores padding, actions in range, noise from whom it was given."""

import pytest
import torch
from scipy.stats import beta, kstest

from workbench.actions import Actions
from workbench.backbones.contract import Hidden
from workbench.heads.contract import Head
from workbench.heads.flow_matching import LATEST, FlowHead, flow_times, waves
from workbench.heads.registry import HEADS, build_head

B, L, E, K, A = 4, 7, 48, 3, 7


def made(name: str, *, chunk: int = K, actions: int = A) -> Head:
    torch.manual_seed(0)
    return build_head(name, torch.randn(E), chunk=chunk, actions=Actions(actions))


def hidden(seed: int = 0) -> Hidden:
    """Random states; the second row has two positions of padding."""
    states_BLE = torch.randn(B, L, E, generator=torch.Generator().manual_seed(seed))
    mask_BL = torch.ones(B, L, dtype=torch.int64)
    mask_BL[1, 3:5] = 0
    return Hidden(states_BLE, mask_BL)


def actions(chunk: int = K) -> tuple[torch.Tensor, torch.Tensor]:
    action_BKA = torch.rand(B, chunk, A, generator=torch.Generator().manual_seed(1)) * 2 - 1
    padded_BK = torch.zeros(B, chunk, dtype=torch.bool)
    padded_BK[2, 1:] = True
    return action_BKA, padded_BK


def noise(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def loss(head: Head, action_BKA: torch.Tensor, padded_BK: torch.Tensor) -> float:
    torch.manual_seed(5)
    return float(torch.stack(list(head.loss(hidden(), action_BKA, padded_BK).values())).sum().detach())


@pytest.mark.parametrize("name", HEADS)
def test_padded_steps_never_count(name):
    """Not in the loss, and not through what the real steps see of them."""
    head, (action_BKA, padded_BK) = made(name), actions()
    wild_BKA = action_BKA.clone()
    wild_BKA[padded_BK] = -wild_BKA[padded_BK]
    assert loss(head, wild_BKA, padded_BK) == loss(head, action_BKA, padded_BK)
    wild_BKA[2, 0] = -wild_BKA[2, 0]
    assert loss(head, wild_BKA, padded_BK) != loss(head, action_BKA, padded_BK)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("chunk", [1, 3])
def test_every_parameter_of_a_head_that_reads_the_states_has_a_gradient(name, chunk):
    head = made(name, chunk=chunk)
    torch.stack(list(head.loss(hidden(), *actions(chunk)).values())).sum().backward()
    dead = {key for key, p in head.named_parameters() if p.grad is None or not p.grad.any()}
    assert dead == {"query_E"}  # its gradient comes through the language model


@pytest.mark.parametrize("name", HEADS)
def test_actions_lie_in_range_and_are_a_function_of_states_and_generators(name):
    head = made(name).eval()
    torch.manual_seed(9)
    state = torch.random.get_rng_state()
    with torch.no_grad():
        first, again = (head.act(hidden(), noise(1, 2, 3, 4)) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.arm_BKA.shape == (B, K, A - 1) and first.closed_BK.shape == (B, K)
    assert (
        first.arm_BKA.abs().max() <= 1 and first.arm_BKA.dtype == torch.float32 and first.closed_BK.dtype == torch.bool
    )
    assert torch.equal(first.arm_BKA, again.arm_BKA) and torch.equal(first.closed_BK, again.closed_BK)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_a_head_takes_states_in_half_precision_under_autocast(name, stored):
    head, states = made(name).to(stored), hidden()
    plain = made(name)
    torch.manual_seed(0)
    expected = sum(plain.loss(states, *actions()).values())
    states = Hidden(states.all_BLE.bfloat16(), states.mask_BL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.manual_seed(0)
        found = sum(head.loss(states, *actions()).values())
        assert head.act(states, noise(1, 2, 3, 4)).arm_BKA.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0, check_dtype=False)


def test_the_flow_reads_the_whole_sequence_but_no_padding():
    head, states = made("flow-matching").eval(), hidden()
    with torch.no_grad():
        expected = head.act(states, noise(1, 2, 3, 4)).arm_BKA
        states.all_BLE[1, 3:5] = 100.0
        assert torch.equal(head.act(states, noise(1, 2, 3, 4)).arm_BKA, expected)
        states.all_BLE[0, 0] = -states.all_BLE[0, 0]
        changed = head.act(states, noise(1, 2, 3, 4)).arm_BKA
    assert not torch.equal(changed[0], expected[0])
    torch.testing.assert_close(changed[1:], expected[1:])


def test_the_flow_learns_two_ways_of_doing_it_and_does_not_take_the_mean():
    """A coin decides between -0.7 and 0.7: regression would answer 0. The gripper, always closed, is learned beside."""
    torch.manual_seed(0)
    head = FlowHead(torch.randn(E), chunk=1, actions=Actions(2))
    optimiser = torch.optim.Adam(head.parameters(), lr=2e-3)
    states = Hidden(torch.randn(1, 2, E).expand(64, 2, E), torch.ones(64, 2, dtype=torch.int64))
    for _ in range(150):
        arm_B1 = 0.7 * (torch.randint(0, 2, (64, 1)) * 2.0 - 1)
        action_BKA = torch.stack([arm_B1, torch.ones(64, 1)], dim=-1)
        optimiser.zero_grad()
        head.loss(states, action_BKA, torch.zeros(64, 1, dtype=torch.bool))["flow"].backward()
        optimiser.step()
    with torch.no_grad():
        chunk = head.act(states, noise(*range(64)))
    arm_B = chunk.arm_BKA.flatten()
    assert arm_B.abs().median() > 0.5 and 0.25 < (arm_B > 0).float().mean() < 0.75
    assert chunk.closed_BK.float().mean() > 0.95


def test_times_are_drawn_as_pi0_draws_them():
    torch.manual_seed(0)
    times = flow_times(20_000, torch.device("cpu"))
    assert 0 <= times.min() and times.max() <= LATEST
    assert kstest(((LATEST - times) / LATEST).numpy(), beta(1.5, 1).cdf).pvalue > 0.01


def test_every_time_has_its_own_waves():
    found = waves(torch.linspace(0, 1, 11), 64)
    assert found.shape == (11, 64) and found.abs().max() <= 1
    assert torch.cdist(found, found).fill_diagonal_(1.0).min() > 0.5
