"""Demonstrations: the expert's own actions in states that noise has disturbed, the same bits for the same recipe."""

from pathlib import Path

import numpy as np
import pytest
from tables import RULES, tables

from workbench.benchmarks.contract import SPLIT_SEEDS, Start
from workbench.benchmarks.tabletop.env import layout_and_goal
from workbench.benchmarks.tabletop.tasks import FAMILIES, expert
from workbench.benchmarks.tabletop.world import STEP, World
from workbench.collect import PATIENCE, collect, open_data, resolved
from workbench.data.contract import Frames
from workbench.data.lerobot import Dataset, open_dataset
from workbench.errors import UserError
from workbench.recipes import Expert, Folder
from workbench.record import collected_folder

NOISY = Expert(tasks=tuple(FAMILIES), episodes=6, noise=0.3)
QUIET = Expert(tasks=("reach",), episodes=3, noise=0.0)
MISHAPS = Expert(tasks=("reach",), episodes=6, noise=0.0, mishaps=0.3)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("collected")
    for recipe in (NOISY, QUIET):
        collect(recipe, collected_folder(root, recipe))
    return root


@pytest.fixture(scope="module")
def noisy(root: Path) -> Dataset:
    return open_data(root, NOISY)


def frames_of(dataset: Dataset) -> Frames:
    return dataset.frames(range(len(dataset.episodes)))


def test_every_task_has_its_episodes_with_their_instruction(noisy):
    frames = frames_of(noisy)
    first = [frames.tasks[frames.task_index[np.flatnonzero(frames.episode == i)[0]]] for i in range(24)]
    assert [text.split()[0] for text in first] == ["reach"] * 6 + ["lift"] * 6 + ["put"] * 6 + ["stack"] * 6
    assert frames.action.shape[1] == len(RULES.actions) and frames.state.shape[1] == len(RULES.state)


def test_an_undisturbed_demonstration_can_be_replayed_to_success(root):
    frames = frames_of(open_data(root, QUIET))
    env = tables(1)
    try:
        for index in range(QUIET.episodes):
            rows = np.flatnonzero(frames.episode == index)
            observation, info = env.reset(options={"starts": [Start("reach", index, SPLIT_SEEDS[QUIET.split])]})
            assert info["task_description"][0] == frames.tasks[frames.task_index[rows[0]]]
            for row in rows:
                np.testing.assert_array_equal(frames.image[row], observation["pixels"][0])
                np.testing.assert_allclose(frames.state[row], observation["agent_pos"][0], atol=1e-6)
                observation, _, success, _, _ = env.step(frames.action[row][None])
            assert success[0]
    finally:
        env.close()


def test_what_is_recorded_is_the_experts_action_in_the_disturbed_state(noisy):
    """DART (arXiv:1703.09327): noise is executed, the correction is recorded."""
    frames, world = frames_of(noisy), World()
    reached = frames.episode < NOISY.episodes  # the reaching episodes: nothing but the gripper moves in them
    for row in np.flatnonzero(reached):
        rows = np.flatnonzero(frames.episode == frames.episode[row])
        starts = [Start("reach", i, SPLIT_SEEDS[NOISY.split]) for i in range(NOISY.episodes + PATIENCE)]
        layout, goal = next(
            (layout, goal)
            for layout, goal in map(layout_and_goal, starts)
            if np.allclose(layout.gripper_xyz, frames.state[rows[0], :3], atol=1e-6)
        )
        data = world.place(layout)
        world.move(data, frames.state[row, :3].astype(float))
        np.testing.assert_allclose(frames.action[row], expert(world, data, goal), atol=0.02)  # blocks settle by 0.3 mm


def test_the_noise_is_as_large_as_asked_for(noisy):
    frames = frames_of(noisy)
    same = np.flatnonzero(frames.episode[1:] == frames.episode[:-1])
    moved = (frames.state[same + 1, :3] - frames.state[same, :3]) / STEP
    added = moved - frames.action[same, :3]
    free = (np.abs(moved) < 0.99) & (np.abs(frames.action[same, :3]) < 0.5)  # not clipped
    free[:, 2] &= (frames.state[same, 2] > 0.06) & (frames.state[same, 2] < 0.15)  # neither at the table nor at the top
    assert free.sum() > 100
    assert added[free].std() == pytest.approx(NOISY.noise, rel=0.25) and abs(added[free].mean()) < 0.08


def test_recorded_actions_are_actions(noisy):
    action = frames_of(noisy).action
    assert np.abs(action).max() <= 1.0
    assert set(np.unique(action[:, 6])) == {-1.0, 1.0} and not action[:, 3:6].any()


def test_the_same_recipe_gives_the_same_bits_and_another_one_others(root, noisy, tmp_path):
    assert open_dataset(collect(NOISY, tmp_path / "again")).digest == noisy.digest
    other = NOISY.model_copy(update={"noise": 0.31})
    assert open_dataset(collect(other, tmp_path / "other")).digest != noisy.digest
    folders = {collected_folder(root, recipe) for recipe in (NOISY, QUIET, other)}
    assert len(folders) == 3 and collected_folder(root, NOISY) in folders


def states_and_actions(dataset: Dataset) -> tuple[bytes, bytes]:
    frames = frames_of(dataset)
    return frames.state.tobytes(), frames.action.tobytes()


def test_mishaps_are_the_same_bits_for_the_same_recipe(tmp_path):
    recipe = MISHAPS
    first, again, other = (
        open_dataset(collect(recipe.model_copy(update=change), tmp_path / name))
        for name, change in (("first", {}), ("again", {}), ("other", {"mishaps": 0.2}))
    )
    assert first.digest == again.digest != other.digest
    assert collected_folder(tmp_path, MISHAPS) != collected_folder(tmp_path, QUIET)


def test_without_mishaps_nothing_of_a_recipe_changes(root, tmp_path):
    """The chance of a mishap is drawn aside: the noise of the episodes is what it was, and so is the dataset's name."""
    without = QUIET.model_copy(update={"mishaps": 0.0})
    assert collected_folder(tmp_path, without) == collected_folder(tmp_path, QUIET)
    rare = QUIET.model_copy(update={"mishaps": 1e-9})
    found = states_and_actions(open_dataset(collect(rare, tmp_path / "rare")))
    assert found == states_and_actions(open_data(root, QUIET))


def test_the_noise_of_an_episode_is_drawn_from_a_generator_of_its_own(tmp_path):
    """Two steps in a row: whatever else were drawn from it would move the second one."""
    frames = frames_of(open_dataset(collect(Expert(tasks=("reach",), episodes=3), tmp_path / "noisy")))
    for state in range(3):
        drawn = np.random.default_rng([SPLIT_SEEDS["finetune"], state, 7])
        first = np.flatnonzero(frames.episode == state)[0]
        for row in (first, first + 1):
            moved = (frames.state[row + 1, :3] - frames.state[row, :3]) / STEP
            executed = np.clip(frames.action[row, :3] + drawn.normal(0.0, 0.3, 3), -1, 1)
            np.testing.assert_allclose(moved[:2], executed[:2], atol=1e-4)


def test_after_a_mishap_the_experts_action_is_recorded_and_something_else_was_done(tmp_path):
    """Without noise every move that is not the recorded one is a mishap: about as many as were asked for."""
    frames = frames_of(open_dataset(collect(MISHAPS, tmp_path / "data")))
    same = np.flatnonzero(frames.episode[1:] == frames.episode[:-1])
    moved = (frames.state[same + 1, :3] - frames.state[same, :3]) / STEP
    astray = np.abs(moved - frames.action[same, :3]).max(axis=1) > 0.2
    assert astray.mean() == pytest.approx(MISHAPS.mishaps, abs=0.12)
    free = np.abs(moved[astray]).max(axis=0)
    assert (free > 0.6).all()  # any direction, up to the largest move


def test_splits_give_disjoint_demonstrations(root, tmp_path):
    other = QUIET.model_copy(update={"split": "injection"})
    found = frames_of(open_dataset(collect(other, tmp_path / "other")))
    seen = {state.tobytes() for state in frames_of(open_data(root, QUIET)).state}
    assert not any(state.tobytes() in seen for state in found.state)


def test_a_stopped_collection_leaves_nothing_behind(tmp_path):
    def stop(done: int, total: int) -> None:
        assert (done, total) == (1, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(QUIET, tmp_path / "data", progress=stop)
    assert list(tmp_path.iterdir()) == []
    assert len(open_dataset(collect(QUIET, tmp_path / "data")).episodes) == 3


def test_noise_that_drowns_the_expert_is_said_and_not_waited_for(tmp_path):
    with pytest.raises(UserError, match=r"With noise 60\.0 and mishaps 0 the expert solved 0 of 20"):
        collect(Expert(tasks=("stack",), episodes=1, noise=60.0), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_users_folder_is_known_by_its_content(root, noisy):
    named = Folder(path=str(noisy.root))
    full = resolved(named)
    assert isinstance(full, Folder) and full.digest == noisy.digest
    assert open_data(root, full).digest == noisy.digest
    with pytest.raises(UserError, match="has changed since it was planned"):
        open_data(root, full.model_copy(update={"digest": "0" * 64}))
    assert resolved(NOISY) == NOISY


def test_collected_data_that_were_damaged_since_are_refused_by_name(tmp_path):
    folder = collect(QUIET, collected_folder(tmp_path, QUIET))
    assert open_data(tmp_path, QUIET).digest == (folder / "digest.txt").read_text().strip()
    data = folder / "data/chunk-000/file-000.parquet"
    content = bytearray(data.read_bytes())
    content[len(content) // 3] ^= 1  # within a picture: parquet itself does not notice
    data.write_bytes(content)
    with pytest.raises(UserError, match=f"{folder} was changed or damaged since it was collected"):
        open_data(tmp_path, QUIET)
