"""LIBERO as a benchmark. Its package and a renderer are real here; its meshes are a download, so boxes stand in."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from libero_scenes import write_scenes

from workbench.benchmarks.contract import Protocol, Start
from workbench.benchmarks.libero import tasks
from workbench.benchmarks.libero.env import LiberoEnv
from workbench.benchmarks.libero.files import ASSETS, package_folder
from workbench.benchmarks.libero.scene import STILL, Scene, drawing_from
from workbench.benchmarks.rules import rules_of
from workbench.errors import UserError

SUITES = ("libero-spatial", "libero-object", "libero-goal", "libero-10", "libero-90")
SOUP = "pick_up_the_alphabet_soup_and_place_it_in_the_basket"
STOVE = "turn_on_the_stove"
STARTS = [Start(SOUP, 3, 404), Start(SOUP, 7, 404)]


@pytest.fixture(scope="module")
def scene_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("libero") / "assets")


@pytest.fixture(scope="module")
def env(scene_files: Path) -> Iterator[LiberoEnv]:
    """Two rows of libero-object."""
    yield from _opened(scene_files, "libero-object", SOUP, 2)


@pytest.fixture(scope="module")
def kitchen(scene_files: Path) -> Iterator[LiberoEnv]:
    """One row of libero-goal: a cabinet, a stove and a rack on a table."""
    yield from _opened(scene_files, "libero-goal", STOVE, 1)


def _opened(scene_files: Path, benchmark: str, task: str, count: int) -> Iterator[LiberoEnv]:
    pytest.importorskip("libero")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ASSETS, str(scene_files))
        patch.setenv("XDG_CACHE_HOME", str(scene_files.parent / "cache"))
        made = LiberoEnv(_protocol(benchmark, task), count)
    yield made
    made.close()


def _protocol(benchmark: str = "libero-object", task: str = SOUP) -> Protocol:
    return Protocol.model_validate({"benchmark": benchmark, "tasks": (task,), "camera": "agentview 128x128"})


def test_tasks_order_and_instructions_are_those_of_the_packages_own_registry(scene_files: Path, env: LiberoEnv):
    from libero.libero import benchmark  # pyright: ignore[reportMissingImports]

    for name in SUITES:
        listed = benchmark.get_benchmark_dict()[tasks.suite(name)]().tasks
        assert tuple(one.name for one in listed) == rules_of(name).tasks
        assert [one.language for one in listed] == [tasks.instruction(one.name) for one in listed]


@pytest.mark.slow
def test_the_package_is_imported_without_a_question_a_network_or_a_folder_in_the_home(
    tmp_path: Path, scene_files: Path
):
    pytest.importorskip("libero")
    script = (
        "import socket; socket.socket.connect = None\n"
        "from workbench.benchmarks.libero.files import find_assets\n"
        "from workbench.benchmarks.libero.scene import scenes\n"
        "print(len(scenes(find_assets()).TASK_MAPPING))"
    )
    told = {**os.environ, "HOME": str(tmp_path), ASSETS: str(scene_files), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    told.pop("LIBERO_CONFIG_PATH", None)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=told, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 5
    assert not (tmp_path / ".libero").exists()
    assert (tmp_path / "cache" / "vla-workbench" / "libero" / "config.yaml").exists()


@pytest.mark.slow
def test_an_episode_begins_at_its_fixed_state_seen_from_the_protocols_camera(env: LiberoEnv):
    observation, info = env.reset(options={"starts": STARTS})
    assert observation["pixels"].shape == (2, 128, 128, 3) and observation["agent_pos"].shape == (2, 8)
    assert info["task_description"] == ["pick up the alphabet soup and place it in the basket"] * 2
    stored = tasks.initial_states("libero-object", SOUP)
    for row, start in enumerate(STARTS):
        at = _scene(env, row).env.sim.data.qpos
        assert np.abs(at - stored[start.initial_state][1 : 1 + len(at)]).max() < 0.15  # ten still steps away from it
        assert np.ptp(observation["pixels"][row]) > 100
    assert not np.array_equal(observation["pixels"][0], observation["pixels"][1])


@pytest.mark.slow
def test_a_start_is_the_same_bits_in_any_row_and_order_and_numpys_generator_is_left_alone(env: LiberoEnv):
    np.random.seed(5)
    expected = np.random.get_state(legacy=False)["state"]["key"]
    first, _ = env.reset(options={"starts": STARTS})
    again, _ = env.reset(options={"starts": STARTS[::-1]})
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], expected)
    for column in ("pixels", "agent_pos"):
        assert np.array_equal(first[column], again[column][::-1])
    assert np.array_equal(env.first_frame(STARTS[0]), first["pixels"][0])
    assert np.array_equal(env.observe()["pixels"], again["pixels"])  # no row was touched


@pytest.mark.slow
def test_a_picture_is_robosuites_own_observation_turned_by_180_degrees_though_drawn_only_when_looked_at(
    env: LiberoEnv,
):
    """The way of openvla-oft and openpi: OffScreenRenderEnv, its observation's image, both axes reversed."""
    env.reset(options={"starts": [STARTS[0], None]})
    stored = tasks.initial_states("libero-object", SOUP)[STARTS[0].initial_state]
    with drawing_from(0):
        path = str(tasks.definition("libero-object", SOUP).path)
        official = env.module.OffScreenRenderEnv(bddl_file_name=path, camera_names=["agentview"])
    with drawing_from(STARTS[0].seed, STARTS[0].initial_state):
        official.env.reset()
    seen = official.set_init_state(stored)
    for _ in range(rules_of("libero-object").settling_steps):
        seen, *_ = official.step(STILL)
    random = np.random.default_rng(0)
    for _ in range(4):
        picture, state = env.look(0)
        assert np.array_equal(picture, seen["agentview_image"][::-1, ::-1])
        assert np.allclose(state[:3], seen["robot0_eef_pos"]) and np.allclose(state[6:], seen["robot0_gripper_qpos"])
        action = random.uniform(-1, 1, 7)
        official.sim._render_context_offscreen.gl_ctx.make_current()
        seen, *_ = official.step(action)
        env.move(0, action)
    official.sim._render_context_offscreen.gl_ctx.make_current()
    official.close()


@pytest.mark.slow
def test_actions_move_the_hand_along_their_axes_and_plus_one_closes_the_gripper(env: LiberoEnv):
    env.reset(options={"starts": STARTS})
    before = env.observe()["agent_pos"]
    actions = np.zeros((2, 7))
    actions[0, [2, 6]] = -0.5, 1.0
    actions[1, [1, 6]] = 0.5, -1.0
    for _ in range(8):
        env.advance(actions, np.ones(2, bool))
    moved = env.observe()["agent_pos"] - before
    assert moved[0, 2] < -0.02 and abs(moved[0, 1]) < 0.01
    assert moved[1, 1] > 0.02 and abs(moved[1, 2]) < 0.01
    fingers = env.observe()["agent_pos"][:, 6] - env.observe()["agent_pos"][:, 7]
    assert fingers[0] < 0.03 < 0.06 < fingers[1]


@pytest.mark.slow
def test_the_goal_holds_when_the_thing_lies_in_the_basket_and_only_then(env: LiberoEnv):
    env.reset(options={"starts": [STARTS[0], None]})
    still = STILL[None].repeat(2, 0)
    rows = np.array([True, False])
    assert not env.advance(still, rows)[0] and env.best[0] == 0.0
    sim = _scene(env, 0).env.sim
    basket = sim.data.get_joint_qpos("basket_1_joint0")
    for thing, solved in (("butter", False), ("alphabet_soup", True)):
        sim.data.set_joint_qpos(f"{thing}_1_joint0", basket + [0.03 * solved, 0, 0.02, 0, 0, 0, 0])
        sim.forward()
        assert env.advance(still, rows)[0] == solved
    assert env.best[0] == 1.0 and env.ended(0, True)


@pytest.mark.slow
def test_a_fixture_lies_where_the_start_alone_puts_it(kitchen: LiberoEnv):
    """Fixtures are in no initial state: LIBERO draws them anew whenever a scene is reset."""

    def stove(start: Start) -> np.ndarray:
        kitchen.reset(options={"starts": [start]})
        model = _scene(kitchen, 0).env.sim.model
        return np.array(model.body_pos[model.body_name2id("flat_stove_1_main")])

    first, other = stove(Start(STOVE, 0, 404)), stove(Start(STOVE, 1, 404))
    assert 0 < np.abs(other - first).max() < 0.03  # the region is 2 cm wide
    assert np.array_equal(stove(Start(STOVE, 0, 404)), first)


def test_turning_the_knob_turns_on_the_stove_and_opening_a_drawer_does_not(kitchen: LiberoEnv):
    kitchen.reset(options={"starts": [Start(STOVE, 0, 404)]})
    sim = _scene(kitchen, 0).env.sim
    sim.data.set_joint_qpos("wooden_cabinet_1_middle_level", -0.15)
    assert not kitchen.advance(STILL[None], np.ones(1, bool))[0]
    dark = kitchen.observe()["pixels"][0]
    sim.data.set_joint_qpos("flat_stove_1_knob", 1.0)
    assert kitchen.advance(STILL[None], np.ones(1, bool))[0]
    kitchen.advance(STILL[None], np.ones(1, bool))  # the burner is lit behind the picture of the step that solves it
    lit = kitchen.observe()["pixels"][0]
    assert np.ptp(np.abs(lit.astype(int) - dark)) > 50


@pytest.mark.slow
def test_a_task_of_another_scene_takes_the_row_over(kitchen: LiberoEnv):
    drawer = Start("open_the_middle_drawer_of_the_cabinet", 5, 404)
    _, info = kitchen.reset(options={"starts": [drawer]})
    assert info["task_description"] == ["open the middle drawer of the cabinet"]
    sim = _scene(kitchen, 0).env.sim
    assert not kitchen.advance(STILL[None], np.ones(1, bool))[0]
    sim.data.set_joint_qpos("wooden_cabinet_1_middle_level", -0.15)
    assert kitchen.advance(STILL[None], np.ones(1, bool))[0]


@pytest.mark.slow
def test_an_empty_row_is_black_and_its_neighbour_is_left_alone(env: LiberoEnv):
    before, _ = env.reset(options={"starts": STARTS})
    env.leave(1)
    after, info = env.reset(options={"starts": [None, None]})
    assert not after["pixels"][1].any() and np.array_equal(after["pixels"][0], before["pixels"][0])
    assert info["task_description"] == [tasks.instruction(SOUP), ""]


def test_a_state_of_another_scene_is_refused(env: LiberoEnv):
    env.reset(options={"starts": [STARTS[0], None]})
    with pytest.raises(UserError, match="the scene files are not those of LIBERO"):
        _scene(env, 0).begin(tasks.initial_states("libero-10", rules_of("libero-10").tasks[0])[0], (404, 0), 0)


def test_a_scene_file_that_is_missing_is_named_with_what_to_download(env: LiberoEnv):
    """The stand-ins have no scene of libero-10."""
    task = rules_of("libero-10").tasks[0]
    with pytest.raises(UserError, match=r"cannot be built \(.*base_style.xml.*hf download lerobot/libero-assets"):
        Scene(env.module, tasks.definition("libero-10", task), "agentview", (128, 128))


def test_a_misnaming_asks_for_another_thing_that_lies_there(env: LiberoEnv):
    told = env.misnamed(STARTS[0])
    assert told != env.sentence(STARTS[0])
    thing = told.removeprefix("pick up the ").removesuffix(" and place it in the basket").replace(" ", "_")
    assert f"{thing}_1" in tasks.definition("libero-object", SOUP).names
    assert package_folder() in tasks.definition("libero-object", SOUP).path.parents


def _scene(env: LiberoEnv, row: int) -> Scene:
    scene = env.rows[row]
    assert scene is not None
    return scene


@pytest.mark.slow
def test_scenes_that_are_drawn_in_turn_do_not_disturb_each_other(env: LiberoEnv, kitchen: LiberoEnv):
    env.reset(options={"starts": STARTS})
    alone = env.observe()["pixels"]
    table, _ = kitchen.reset(options={"starts": [Start(STOVE, 2, 404)]})
    assert np.array_equal(env.observe()["pixels"], alone)
    assert np.array_equal(kitchen.observe()["pixels"], table["pixels"])
