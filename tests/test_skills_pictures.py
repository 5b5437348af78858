"""Skills that are counted in pixels, cells and turned cameras: true by the renderer, and no constant answers them."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from skilled import Moment, Seen, seen

from workbench.benchmarks.tabletop.world import BLOCK_HALF, BLOCKS, CAMERA, COLOURS, PLATE_HALF, PLATE_RADIUS
from workbench.scene import DEPTH_SIDE
from workbench.skills.contract import Turn
from workbench.skills.facts import SKILLS
from workbench.skills.grid import ROWS, SIDE
from workbench.skills.segmentation import segmentation
from workbench.skills.visible import visible

SIZES = {"taller": {"block": BLOCK_HALF, "plate": PLATE_HALF}, "wider": {"block": BLOCK_HALF, "plate": PLATE_RADIUS}}
LEFT = {"near": (-1, 0), "far": (1, 0), "left": (0, 1), "right": (0, -1)}
"""What is left in the plane, in metres to the right and away, of one who stands at a side and looks at the middle."""
ASKED = "how many steps of 5 centimetres to each of the 4 cells of row (.)"
CELL, PART = 64 // SIDE, 64 // DEPTH_SIDE


@pytest.fixture(name="seen", scope="module")
def _seen() -> Seen:
    return seen()


def asked(seen: Seen, skill: str, form: str, *, count: int = 1500) -> Iterator[tuple[Moment, Turn, re.Match[str]]]:
    """The turns whose question is of this form."""
    for moment, turn in seen.turns(skill, count=count):
        if found := re.fullmatch(form, turn.question):
            yield moment, turn, found


def test_what_is_visible_of_a_thing_is_what_the_renderer_drew_of_it(seen: Seen):
    for row, moment in enumerate(seen.moments):
        for shown_HW, geom in zip(visible(seen.known, row), seen.world.object_geoms, strict=True):
            np.testing.assert_array_equal(shown_HW, moment.geom_HW == geom)


def test_of_two_things_of_one_kind_the_larger_has_more_pixels(seen: Seen):
    kinds, first = set(), []
    for moment, turn, found in asked(seen, "size", "which takes up more of the picture, the (.+) or the (.+)"):
        pixels = [int(seen.shown(moment, name).sum()) for name in found.groups()]
        kinds |= {tuple(name.split()[1] for name in found.groups())}
        assert turn.answer == f"the {found[1 + int(np.argmax(pixels))]}" and max(pixels) > 1.2 * min(pixels)
        first.append(pixels[0] > pixels[1])
    assert kinds == {("block", "block"), ("plate", "plate")}, "a plate always takes up more than a block"
    assert len(first) > 500 and abs(np.mean(first) - 0.5) < 0.06


def test_in_metres_a_plate_is_wider_and_a_block_taller_and_two_of_a_kind_are_neither(seen: Seen):
    answers = Counter[str]()
    form = "which is (taller|wider), the (.+) thing, the (.+) thing or neither"
    for moment, turn, found in asked(seen, "size", form):
        things = [moment.layout.colours.index(colour) for colour in found.groups()[1:]]
        first, second = (SIZES[found[1]]["block" if thing < BLOCKS else "plate"] for thing in things)
        wanted = "neither" if first == second else f"the {found[2] if first > second else found[3]} thing"
        assert turn.answer == wanted
        answers["neither" if first == second else "first" if first > second else "second"] += 1
    assert answers.total() > 600
    assert all(abs(answers[one] / answers.total() - 1 / 3) < 0.06 for one in ("first", "second", "neither")), answers


def test_what_is_further_left_from_a_side_is_so_once_the_table_is_turned(seen: Seen):
    found_sides, first, as_seen = Counter[str](), [], []
    form = "seen from the (.+) side of the table, which is further left, the (.+) or the (.+)"
    for moment, turn, found in asked(seen, "viewpoint", form):
        tops_23 = np.stack([seen.top(moment, name) for name in found.groups()[1:]])
        across = _turned(tops_23, found[1])
        assert turn.answer == f"the {found[2 + int(np.argmin(across))]}" and abs(across[0] - across[1]) > 0.059
        found_sides[found[1]] += 1
        first.append(across[0] < across[1])
        plain = CAMERA.project(tops_23)[:, 0]
        as_seen.append((plain[0] < plain[1]) == first[-1])
    assert all(abs(found_sides[side] / found_sides.total() - 0.25) < 0.06 for side in LEFT), found_sides
    assert abs(np.mean(first) - 0.5) < 0.05 and abs(np.mean(as_seen) - 0.5) < 0.05, "the picture's own left is a guess"


def _turned(places_M3: np.ndarray, side: str) -> np.ndarray:
    """Across the picture, after the table was turned so that this side is the camera's."""
    left_2 = np.array(LEFT[side])
    away_2 = np.array([left_2[1], -left_2[0]])
    off_M2 = places_M3[:, :2] - CAMERA.lookat[:2]
    turned_M2 = np.stack([-off_M2 @ left_2, off_M2 @ away_2], axis=1) + CAMERA.lookat[:2]
    return CAMERA.project(np.column_stack([turned_M2, places_M3[:, 2]]))[:, 0]


def test_the_gripper_is_nearer_the_camera_as_often_as_not(seen: Seen):
    answers, pitch = Counter[str](), np.deg2rad(CAMERA.elevation)
    forward_3 = np.array([0, np.cos(pitch), np.sin(pitch)])
    for moment, turn, found in asked(seen, "viewpoint", "which is nearer the camera, the (.+) or the (.+)"):
        (name,) = set(found.groups()) - {"gripper"}
        far = {"gripper": seen.world.tip(moment.data) @ forward_3, name: seen.top(moment, name) @ forward_3}
        assert turn.answer == f"the {min(far, key=far.__getitem__)}"
        answers["gripper" if turn.answer == "the gripper" else "thing"] += 1
        answers["first"] += turn.answer == f"the {found[1]}"
    asked_so = answers["gripper"] + answers["thing"]
    assert asked_so > 150 and abs(answers["gripper"] / asked_so - 0.5) < 0.08
    assert abs(answers["first"] / asked_so - 0.5) < 0.08


def test_the_cells_that_are_said_are_those_that_show_a_quarter_of_the_thing(seen: Seen):
    lengths = set()
    for moment, turn, found in asked(seen, "segmentation", "which of 4 by 4 cells show the (.+)", count=400):
        shown_HW, pixels = seen.shown(moment, found[1]), {}
        for (y, row), x in product(enumerate(ROWS), range(SIDE)):
            pixels[f"{row}{x + 1}"] = shown_HW[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL].sum()
        filled = [cell for cell, shown in pixels.items() if 4 * shown >= shown_HW.sum()]
        assert turn.answer.split() == filled
        lengths.add(len(filled))
    assert lengths >= {1, 2}


def test_of_a_thing_that_is_all_but_hidden_its_cells_are_said_and_of_a_hidden_one_nothing(seen: Seen):
    image = seen.known.frames.image[:1].copy()
    image[:] = image[0, 0, 0]
    colour_3 = np.array(COLOURS[seen.moments[0].layout.colours[1]])
    image[0, 3 * CELL, 2 * CELL - 1 : 2 * CELL + 4] = 255 * colour_3
    known = replace(seen.known, frames=replace(seen.known.frames, image=image))
    for seed in range(10):
        turn = segmentation(known, 0, np.random.default_rng(seed))
        assert turn.question.endswith(known.scenes.name(0, 1)) and turn.answer == "d3"


def test_a_row_of_depths_is_what_the_renderer_measured_and_something_stands_in_it(seen: Seen):
    rows = set()
    for moment, turn, found in asked(seen, "depth-row", ASKED):
        y = ROWS.index(found[1]) * CELL
        told = [int(one) for one in re.findall(r"<loc(\d\d)>", turn.answer)]
        assert len(told) == SIDE and len(set(told)) > 1
        for x, steps in enumerate(told):
            cell = moment.depth_HW[y : y + CELL, x * CELL : (x + 1) * CELL]
            parts = [cell[i : i + PART, j : j + PART].mean() for i, j in product(range(0, CELL, PART), repeat=2)]
            assert abs(0.05 * steps - min(parts)) < 0.0251
        rows.add(found[1])
    assert rows == set(ROWS)


CONSTANT = {
    **dict.fromkeys(("pointing", "affordance"), 0.12),
    **dict.fromkeys(("spatial", "distance", "depth", "viewpoint", "segmentation", "depth-row"), 0.25),
    **{"size": 0.25, "trajectory": 0.25, "planning": 0.5, "order": 0.56},
}
"""The most that one answer may get right, of each skill: about what it would where its answers were all as frequent."""


def test_every_skill_that_says_where_things_are_has_such_a_bound():
    assert set(CONSTANT) == {skill for skill, facts in SKILLS.items() if not facts.control}


@pytest.mark.parametrize("skill", CONSTANT)
def test_no_constant_answer_gets_more_than_chance(skill: str, seen: Seen):
    answers = Counter(turn.answer for _, turn in seen.turns(skill, seed=3, count=1000))
    assert answers.most_common(1)[0][1] / answers.total() < CONSTANT[skill], answers.most_common(3)
