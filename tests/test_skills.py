"""Questions of every skill: true in the simulator's own terms, of every kind of answer, the same for a generator."""

import re
from dataclasses import replace

import numpy as np
import pytest
from skilled import Moment, Seen, seen

from workbench.backbones.registry import load_backbone
from workbench.benchmarks.tabletop.tasks import expert
from workbench.benchmarks.tabletop.world import CAMERA, STEP, World
from workbench.errors import UserError
from workbench.objectives.facts import facts, spelled
from workbench.pretraining.questions import BINS
from workbench.scene import DEPTH_SIDE
from workbench.skills.contract import Turn
from workbench.skills.facts import SKILLS, skill_names, taught
from workbench.skills.places import (
    levels,
    paligemma_levels,
    paligemma_place,
    places,
    written_levels,
    written_place,
)
from workbench.skills.registry import ASK

MOVES = {"right": (0, 1), "left": (0, -1), "away": (1, 1), "closer": (1, -1), "up": (2, 1), "down": (2, -1)}


@pytest.fixture(name="seen", scope="module")
def _seen() -> Seen:
    return seen()


def located(answer: str) -> np.ndarray:
    """The middle of the bins that two location tokens name."""
    return (np.array([int(number) for number in re.findall(r"<loc(\d+)>", answer)]) + 0.5) / BINS


def test_facts_and_functions_have_the_same_names():
    assert list(SKILLS) == list(ASK)
    assert skill_names("all") == tuple(SKILLS)[:9] and skill_names("order") == ("order",)
    assert skill_names("all, size") == (*tuple(SKILLS)[:9], "size") and skill_names("size,order") == ("size", "order")
    assert taught("order, depth") == ("order", "depth") and taught(None) == tuple(SKILLS)


def test_several_skills_are_one_objective_however_they_are_spaced():
    assert spelled("questions:size , order") == "questions:size,order" and spelled("questions:all") == "questions:all"
    assert facts("questions:colours").control and not facts("questions:colours,size").control


def test_an_unknown_skill_is_told_the_nearest_name():
    with pytest.raises(UserError, match="No skill named 'pointin'. Did you mean 'pointing'"):
        skill_names("pointin")
    with pytest.raises(UserError, match="named twice"):
        taught("depth,depth")
    with pytest.raises(UserError, match="'depth' is named twice"):
        skill_names("all,depth")


@pytest.mark.parametrize("skill", SKILLS)
def test_the_same_generator_asks_the_same(skill: str, seen: Seen):
    one, same, other = ([turn for _, turn in seen.turns(skill, seed=seed, count=40)] for seed in (1, 1, 2))
    assert one == same
    assert one != other or skill in ("colours", "affordance", "planning"), "these three have one question a frame"


def test_a_pointed_place_is_where_the_camera_sees_the_thing(seen: Seen):
    named = set()
    for moment, turn in seen.turns("pointing"):
        name = turn.question.split(" the ")[1]
        at = seen.world.tip(moment.data) if name == "gripper" else seen.top(moment, name)
        np.testing.assert_allclose(located(turn.answer), CAMERA.project(at[None])[0], atol=0.5001 / BINS)
        named.add(name.split()[-1])
    assert named == {"block", "plate", "gripper"}


def test_one_grasps_the_thing_that_the_goal_means(seen: Seen):
    for moment, turn in seen.turns("affordance"):
        at = seen.world.tops(moment.data)[moment.goal.thing]
        assert turn.question.endswith(moment.goal.instruction)
        np.testing.assert_allclose(located(turn.answer), CAMERA.project(at[None])[0], atol=0.5001 / BINS)


def test_colours_are_those_of_the_layout(seen: Seen):
    for moment, turn in seen.turns("colours"):
        assert turn.answer.split() == sorted(moment.layout.colours)


def test_sides_are_those_of_the_picture(seen: Seen):
    answers = set()
    for moment, turn in seen.turns("spatial"):
        b, a = turn.question.removeprefix("which side of the ").split(" is the ")
        across, down = CAMERA.project(np.stack([seen.top(moment, a), seen.top(moment, b)])).T
        for word, apart in {"left": -np.diff(across[::-1]), "right": np.diff(across[::-1])}.items():
            assert (word in turn.answer) == (apart > 0.06)
        for word, apart in {"above": -np.diff(down[::-1]), "below": np.diff(down[::-1])}.items():
            assert (word in turn.answer) == (apart > 0.06)
        answers.add(turn.answer)
    assert {"left", "right", "above", "below", "left above", "right below"} <= answers


def test_distances_are_those_of_the_world(seen: Seen):
    kinds = set()
    for moment, turn in seen.turns("distance"):
        if found := re.fullmatch(r"which is nearer to the (.+), the (.+) or the (.+)", turn.question):
            third, *two = found.groups()
            far = [float(np.linalg.norm(seen.top(moment, third) - seen.top(moment, name))) for name in two]
            assert turn.answer == f"the {two[int(np.argmin(far))]}" and third not in two
            kinds.add(f"nearer {int(np.argmin(far))}")
        else:
            a, b = turn.question.removeprefix("how many centimetres from the ").split(" to the ")
            metres = np.linalg.norm(seen.top(moment, a) - seen.top(moment, b))
            assert abs(int(turn.answer) - 100 * metres) <= 2.51 and int(turn.answer) % 5 == 0
            kinds.add("how far")
    assert kinds == {"nearer 0", "nearer 1", "how far"}


def test_the_next_step_is_the_experts(seen: Seen):
    answers = set()
    for moment, turn in seen.turns("planning"):
        action, held = expert(seen.world, moment.data, moment.goal), turn.answer
        answers.add(held)
        if turn.answer.startswith("move"):
            axis, sign = MOVES[turn.answer.split()[1]]
            assert sign * action[axis] == np.abs(action[:3]).max()
        elif turn.answer != "stay":
            assert (action[6] > 0) == (turn.answer == "close the gripper")
        assert turn.question.endswith(moment.goal.instruction)
    assert answers >= {"close the gripper", "open the gripper", *(f"move {way}" for way in MOVES)}


def test_an_expert_who_does_nothing_stays(seen: Seen):
    still = seen.known.frames.action.copy()
    still[:, :3] = 0.05
    still[:, -1] = seen.known.frames.state[:, -1]
    known = replace(seen.known, frames=replace(seen.known.frames, action=still))
    assert ASK["planning"](known, 0, np.random.default_rng(0)).answer == "stay"


def test_the_chosen_move_ends_nearer_the_thing_when_it_is_made(seen: Seen):
    answers = set()
    for moment, turn in seen.turns("trajectory"):
        name, *ways = (
            turn.question.removeprefix("which move brings the gripper nearer the ").replace(", ", " or ").split(" or ")
        )
        ends = [float(np.linalg.norm(_moved(seen.world, moment, way) - seen.top(moment, name))) for way in ways]
        assert turn.answer == ways[int(np.argmin(ends))]
        answers.add(turn.answer)
    assert answers == set(MOVES)


def _moved(world: World, moment: Moment, way: str) -> np.ndarray:
    """Where the tip would be after one whole action, were nothing in its way."""
    axis, sign = MOVES[way]
    return world.tip(moment.data) + STEP * sign * np.eye(3)[axis]


def test_of_two_frames_the_earlier_one_is_named(seen: Seen):
    answers = set()
    for _, turn in seen.turns("order"):
        left, right = turn.rows
        assert seen.known.frames.episode[left] == seen.known.frames.episode[right]
        assert turn.answer == ("left" if left < right else "right") and left != right
        answers.add(turn.answer)
    assert answers == {"left", "right"}


def test_an_episode_of_one_frame_lends_another_and_no_order_is_asked_where_all_have_one(seen: Seen):
    frames = seen.known.frames
    firsts = np.flatnonzero(frames.step < np.where(frames.episode == 0, 1, 2))
    cut = replace(
        frames,
        **{
            name: getattr(frames, name)[firsts]
            for name in ("image", "state", "action", "episode", "step", "task_index")
        },
    )
    turn = ASK["order"](replace(seen.known, frames=cut), 0, np.random.default_rng(0))
    assert sorted(turn.rows) != [0, 0] and cut.episode[list(turn.rows)].min() > 0
    alone = replace(cut, episode=np.arange(len(cut)), step=np.zeros(len(cut), int))
    with pytest.raises(UserError, match="has two frames"):
        ASK["order"](replace(seen.known, frames=alone), 0, np.random.default_rng(0))


def test_what_is_nearer_the_camera_is_so_in_the_world(seen: Seen):
    kinds, pitch = set(), np.deg2rad(CAMERA.elevation)
    forward = np.array([0, np.cos(pitch), np.sin(pitch)])  # the camera looks along y and down
    for moment, turn in seen.turns("depth"):
        if found := re.fullmatch(r"which is nearer the camera, the (.+) or the (.+)", turn.question):
            far = [float(seen.top(moment, name) @ forward) for name in found.groups()]
            assert turn.answer == f"the {found[1 + int(np.argmin(far))]}"
            kinds.add(f"nearer {int(np.argmin(far))}")
        else:
            name = turn.question.split(" camera to the ")[1]
            metres = (seen.top(moment, name) - CAMERA.lookat) @ forward + CAMERA.distance
            assert abs(int(turn.answer) / 100 - metres) < 0.025 + 0.04, "a part of the map shows what is beside it too"
            kinds.add("how far")
    assert kinds == {"nearer 0", "nearer 1", "how far"}


def test_two_frames_stand_side_by_side_in_one_picture_of_the_same_size(seen: Seen):
    image = np.zeros((2, 4, 6, 3), np.uint8)
    image[1] = 200
    known = replace(seen.known, frames=replace(seen.known.frames, image=image))
    pair = known.picture(Turn("", "", (1, 0)))
    assert pair.shape == (4, 6, 3) and pair.dtype == np.uint8
    assert (pair[:, :3] == 200).all() and (pair[:, 3:] == 0).all()
    np.testing.assert_array_equal(seen.known.picture(Turn("", "", (3,))), seen.known.frames.image[3])


def test_places_are_written_as_the_tokenizer_knows_them():
    backbone, at = load_backbone("embedded", weights="pretrained", seed=0), np.array([0.1, 0.55])
    assert places(backbone)(at) == "<loc03><loc17>"
    assert paligemma_place(at) == "<loc0563><loc0102>"
    assert paligemma_place(np.array([1.0, -0.2])) == "<loc0000><loc1023>"
    assert written_place(at) == "(0.10, 0.55)"
    bare = replace(backbone, answers=lambda texts: backbone.answers([f"{text} " * 2 for text in texts]))
    assert places(bare) is written_place and levels(bare) is written_levels


def test_levels_are_single_tokens_where_the_tokenizer_has_any_for_places_and_numbers_elsewhere():
    backbone = load_backbone("embedded", weights="pretrained", seed=0)
    assert levels(backbone)([13, 0, 40]) == "<loc13><loc00><loc31>"
    assert paligemma_levels([13, 0, 40]) == "<loc0416><loc0000><loc0992>"
    assert written_levels([13, 0, 40]) == "13 0 40"


def test_things_are_seen_where_the_depth_map_is_read(seen: Seen):
    assert seen.known.scenes.depth_NSS.shape[1:] == (DEPTH_SIDE, DEPTH_SIDE)
