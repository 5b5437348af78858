"""The table and the gripper: what lies where, what a step does, what the cup holds."""

from itertools import pairwise

import numpy as np
import pytest

from workbench.benchmarks.tabletop.world import (
    BLOCK_HALF,
    BLOCKS,
    COLOURS,
    PLATE_HALF,
    PLATES,
    REACH,
    STEP,
    SUCTION,
    TOP,
    Layout,
    World,
    sample_layout,
)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def layout(*, gripper: tuple[float, float, float] = (0.0, 0.0, 0.15)) -> Layout:
    """Objects at known places, the first block in the left front corner."""
    blocks = np.array([[-0.10, -0.10], [0.10, -0.10], [0.10, 0.10]])
    plates = np.array([[-0.10, 0.10], [0.0, 0.0]])
    return Layout(blocks, plates, np.array(gripper), tuple(COLOURS)[: BLOCKS + PLATES])


def act(*, move: tuple[float, float, float] = (0, 0, 0), closed: bool = False) -> np.ndarray:
    return np.array([*move, 0, 0, 0, 1.0 if closed else -1.0])


def test_objects_lie_where_the_layout_puts_them_and_stay_there(world):
    data = world.place(layout())
    for _ in range(5):
        world.step(data, act())
    tops = world.tops(data)
    np.testing.assert_allclose(tops[:BLOCKS, :2], layout().blocks_xy, atol=1e-3)
    np.testing.assert_allclose(tops[:BLOCKS, 2], 2 * BLOCK_HALF, atol=1e-3)
    np.testing.assert_allclose(tops[BLOCKS:, :2], layout().plates_xy, atol=1e-9)
    np.testing.assert_allclose(tops[BLOCKS:, 2], 2 * PLATE_HALF, atol=1e-9)


@pytest.mark.parametrize("axis", range(3))
def test_an_action_of_one_moves_the_tip_by_one_step(world, axis):
    data = world.place(layout(gripper=(0.0, 0.0, 0.10)))
    move = [0.0, 0.0, 0.0]
    move[axis] = 1.0
    world.step(data, act(move=(move[0], move[1], move[2])))
    expected = np.array([0.0, 0.0, 0.10])
    expected[axis] += STEP
    np.testing.assert_allclose(world.tip(data), expected, atol=1e-9)


def test_actions_beyond_one_are_clipped_and_the_tip_stays_over_the_table(world):
    data = world.place(layout())
    world.step(data, act(move=(50.0, 0.0, 0.0)))
    assert world.tip(data)[0] == pytest.approx(STEP)
    for _ in range(20):
        world.step(data, act(move=(1.0, 1.0, 1.0)))
    np.testing.assert_allclose(world.tip(data), [REACH + 0.05, REACH + 0.05, TOP])
    for _ in range(20):
        world.step(data, act(move=(0.0, 0.0, -1.0)))
    assert world.tip(data)[2] > 0


def test_rotations_have_no_effect_on_a_round_cup(world):
    still, turned = world.place(layout()), world.place(layout())
    world.step(still, act())
    world.step(turned, np.array([0, 0, 0, 1.0, -1.0, 0.5, -1.0]))
    np.testing.assert_array_equal(still.qpos, turned.qpos)
    np.testing.assert_array_equal(still.mocap_pos, turned.mocap_pos)


def test_the_cup_lifts_a_block_that_it_touches_and_drops_it_when_opened(world):
    data = world.place(layout(gripper=(-0.10, -0.10, 2 * BLOCK_HALF + 0.002)))
    world.step(data, act(closed=True))
    assert world.held(data) == 0
    for _ in range(3):
        world.step(data, act(move=(0, 0, 1.0), closed=True))
    assert world.tops(data)[0, 2] > 2 * BLOCK_HALF + 0.05
    for _ in range(2):
        world.step(data, act(closed=True))
    np.testing.assert_allclose(world.tops(data)[0], world.tip(data), atol=2e-3)  # the cup centres what it holds
    for _ in range(6):
        world.step(data, act())
    assert world.held(data) is None
    assert world.tops(data)[0, 2] == pytest.approx(2 * BLOCK_HALF, abs=2e-3)


@pytest.mark.parametrize("away", [(SUCTION + 0.005, 0.0), (0.0, SUCTION + 0.005)])
def test_the_cup_holds_nothing_that_is_out_of_its_reach(world, away):
    across, above = away
    data = world.place(layout(gripper=(-0.10 + across, -0.10, 2 * BLOCK_HALF + above)))
    world.step(data, act(closed=True))
    assert world.held(data) is None


def test_the_cup_does_not_hold_plates(world):
    data = world.place(layout(gripper=(0.0, 0.0, 2 * PLATE_HALF)))
    world.step(data, act(closed=True))
    assert world.held(data) is None


def test_episodes_of_one_world_do_not_disturb_each_other(world):
    alone, beside = world.place(layout()), world.place(layout())
    other = world.place(layout(gripper=(-0.10, -0.10, 2 * BLOCK_HALF)))
    for _ in range(4):
        world.step(alone, act(move=(0.5, 0.2, -0.3)))
    for _ in range(4):
        world.step(other, act(move=(0, 0, 1.0), closed=True))
        world.step(beside, act(move=(0.5, 0.2, -0.3)))
    np.testing.assert_array_equal(alone.qpos, beside.qpos)
    assert world.held(other) == 0 and world.held(beside) is None


def test_sampled_objects_keep_apart_lie_within_reach_and_have_distinct_colours():
    random = np.random.default_rng(0)
    for _ in range(200):
        drawn = sample_layout(random)
        spots = np.concatenate([drawn.blocks_xy, drawn.plates_xy])
        gaps = [np.linalg.norm(a - b) for i, a in enumerate(spots) for b in spots[:i]]
        assert min(gaps) >= 0.085
        assert np.abs(spots).max() <= REACH and np.abs(drawn.gripper_xyz[:2]).max() <= REACH
        assert len(set(drawn.colours)) == BLOCKS + PLATES and set(drawn.colours) <= set(COLOURS)


def test_the_same_generator_gives_the_same_layouts_and_then_others():
    first, second = np.random.default_rng(5), np.random.default_rng(5)
    drawn = [sample_layout(first) for _ in range(3)]
    for one in drawn:
        again = sample_layout(second)
        np.testing.assert_array_equal(one.blocks_xy, again.blocks_xy)
        assert one.colours == again.colours
    assert all(not np.array_equal(a.blocks_xy, b.blocks_xy) for a, b in pairwise(drawn))
