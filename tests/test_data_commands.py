"""`workbench data`: inspect, stats, check (every fault that is planted is found), convert, split."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from arm_episodes import ACTIONS, TASKS, arm, like_libero, write_arm, write_folder
from commands import Said, refusal, say
from PIL import Image

from workbench.cli_data import app
from workbench.data.contract import Episode
from workbench.data.conversion import from_policy_actions, to_policy_actions
from workbench.data.dataset import Dataset, Vectors
from workbench.data.description import describe
from workbench.data.lerobot import open_dataset
from workbench.data.partition import partition
from workbench.data.problems import number_problems
from workbench.data.survey import survey
from workbench.errors import UserError

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
INFO, STATISTICS = "meta/info.json", "meta/stats.json"
PICTURES = "observation.images.front"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_arm(tmp_path / "demos", arm())


def edit_column(path: Path, name: str, edit: Callable[[list], object]) -> None:
    table = pq.read_table(path)
    values = table[name].to_pylist()
    edit(values)
    field = table.schema.field(name)
    pq.write_table(table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type)), path)


def found(*arguments: str) -> dict[str, list[str]]:
    """The sentences of `data check` by kind; its exit code fits them."""
    said = say("data", "check", *arguments, "--format", "json")
    told = json.loads(said.out)
    assert said.code == (0 if told["sound"] else 1), said
    kinds: dict[str, list[str]] = {}
    for problem in told["problems"]:
        kinds.setdefault(problem["kind"], []).append(problem["sentence"])
    return kinds


def answer(said: Said) -> dict:
    assert said.code == 0, said
    return json.loads(said.out)


def test_every_command_is_there_with_a_sentence_and_an_example():
    assert {command.callback.__name__ for command in app.registered_commands if command.callback} == {
        "inspect", "stats", "check", "convert", "split"
    }  # fmt: skip
    for command in app.registered_commands:
        assert command.callback and "Example: workbench data " in (command.callback.__doc__ or "")


def test_inspect_tells_what_is_there(root: Path):
    told = answer(say("data", "inspect", str(root), "--format", "json"))
    facts = {"format": "LeRobot v3.0", "episodes": 6, "frames": 30, "fps": 20, "cameras": [PICTURES]}
    assert told == told | facts
    assert told["lengths"] == {"min": 5, "median": 5.0, "max": 5} and told["tasks"] == dict.fromkeys(TASKS, 3)
    action = np.concatenate([episode.action for episode in arm()])
    for d, dimension in enumerate(told["columns"]["action"]):
        assert dimension["name"] == ACTIONS[d]
        assert dimension["min"] == action[:, d].min() and dimension["max"] == action[:, d].max()
        assert dimension["q99"] == pytest.approx(np.quantile(action[:, d].astype(float), 0.99))
        assert dimension["histogram"] == np.histogram(action[:, d], bins=20)[0].tolist()
    assert told["problems"] == []


def test_inspect_prints_tasks_histograms_and_problems(root: Path):
    said = say("data", "inspect", str(root))
    assert said.code == 0
    assert all(words in said.out for words in (*TASKS, *ACTIONS, "█", "No problems found."))


def test_the_contact_sheet_shows_first_pictures(root: Path, tmp_path: Path):
    path = tmp_path / "sheet.png"
    assert say("data", "inspect", str(root), "--sheet", str(path)).code == 0
    with Image.open(path) as sheet:
        assert sheet.format == "PNG" and sheet.size == (6 * 168 + 8, 128 + 30 + 8 + 8)
        pixels = np.asarray(sheet)
    for place, episode in enumerate(arm()):
        left = 8 + place * 168
        shown = pixels[8 + 30 : 8 + 30 + 128, left : left + 160]
        np.testing.assert_array_equal(shown[8::16, 8::16], episode.image[0])
    assert "cannot be written" in refusal("data", "inspect", str(root), "--sheet", str(tmp_path / "no" / "sheet.png"))


def test_stats_compares_with_the_stored_ones_and_tells_round_trips(root: Path):
    told = answer(say("data", "stats", str(root), "--format", "json"))["columns"]["action"]
    assert told["computed"]["count"] == [30] and told["stored"] == told["computed"]
    assert set(told["round_trip_error"]) == {"IDENTITY", "MEAN_STD", "MIN_MAX", "QUANTILES"}
    assert max(max(errors) for errors in told["round_trip_error"].values()) < 1e-6
    record = json.loads((root / STATISTICS).read_text())
    record["action"]["mean"][0] += 0.5
    (root / STATISTICS).write_text(json.dumps(record))
    told = answer(say("data", "stats", str(root), "--format", "json", "--clip", "0.65"))["columns"]["action"]
    spread = told["computed"]["max"][0] - told["computed"]["min"][0]
    assert told["difference"]["mean"][0] == pytest.approx(0.5 / spread)
    assert told["round_trip_error"]["MIN_MAX"][0] == pytest.approx(0.35 * spread / 2, rel=1e-4)
    assert "clipped at ±0.65" in say("data", "stats", str(root), "--clip", "0.65").out
    assert "at most 1, not at 3.0" in refusal("data", "stats", str(root), "--clip", "3")


def test_stats_says_which_scaling_refuses_the_data(tmp_path: Path):
    episodes = arm(count=30)
    for episode in episodes:
        episode.action[:, 6] = -1
    episodes[0].action[3, 6] = 1
    root = write_arm(tmp_path / "demos", episodes)
    told = answer(say("data", "stats", str(root), "--format", "json"))["columns"]["action"]
    assert "QUANTILES cannot scale dimension 6" in told["refused"]["QUANTILES"]
    assert "QUANTILES" not in told["round_trip_error"]
    assert "QUANTILES cannot scale dimension 6" in say("data", "stats", str(root)).out


def test_a_sound_data_set_has_no_problems(root: Path, tmp_path: Path):
    like_libero(tmp_path / "mine.toml")
    assert found(str(root), "--description", str(tmp_path / "mine.toml")) == {}
    assert "No problems found." in say("data", "check", str(root)).out


def test_check_finds_missing_frames(root: Path):
    edit_column(root / DATA, "frame_index", lambda rows: rows.__setitem__(8, 2))
    assert "Episode 1 should have frames 0 to 4" in found(str(root))["unreadable"][0]


class Short(Dataset):
    """A data set whose episode 1 has fewer frames than it says."""

    def __init__(self, root: Path) -> None:
        whole = open_dataset(root)
        self.whole, self.root, self.episodes, self.statistics = whole, root, whole.episodes, whole.statistics
        self.state_names, self.action_names = whole.state_names, whole.action_names

    def vectors(self, index: int) -> Vectors:
        vectors = self.whole.vectors(index)
        return Vectors(vectors.state[:3], vectors.action[:3]) if index == 1 else vectors

    def episode(self, index: int) -> Episode:
        return self.whole.episode(index)


def test_check_finds_an_episode_shorter_than_promised(root: Path):
    problems = {problem.kind: problem.sentence for problem in number_problems(survey(Short(root)))}
    assert problems["missing-frames"] == "Episode 1 has 3 of 5 frames."
    assert problems["statistics"].endswith("count 30 frames, and there are 28.")


def test_check_finds_a_missing_row_and_a_file_that_is_not_whole(root: Path):
    whole = (root / DATA).read_bytes()
    pq.write_table(pq.read_table(root / DATA).slice(0, 29), root / DATA)
    assert "has 29 rows, but its episodes have 30 frames" in found(str(root))["unreadable"][0]
    (root / DATA).write_bytes(whole[: len(whole) // 2])
    assert "is not a whole parquet file" in found(str(root))["unreadable"][0]


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_check_finds_a_number_that_is_none(root: Path, value: str):
    edit_column(root / DATA, "action", lambda rows: rows[8].__setitem__(1, float(value)))
    kinds = found(str(root))
    assert f"'action' is {value} in dimension 1 at episode 1, frame 3" in kinds["unreadable"][0]
    assert set(kinds) == {"unreadable"} and len(kinds["unreadable"]) == 1


def changed(tmp_path: Path, change: Callable[[list[Episode]], object]) -> str:
    episodes = arm()
    episodes = change(episodes) or episodes
    return str(write_arm(tmp_path / "changed", episodes))  # type: ignore[arg-type]


def test_check_finds_a_constant_dimension(tmp_path: Path):
    def still(episodes: list[Episode]) -> None:
        for episode in episodes:
            episode.action[:, 3] = 0.25

    root = changed(tmp_path, still)
    assert found(root) == {"constant": ["Dimension 3 (ax) of action is 0.25 in every frame."]}
    said = say("data", "check", root, "--allow", "constant")
    assert said.code == 0 and "1 problem found, 1 of them allowed." in said.out
    assert "No kind of problem named 'constnt'. Did you mean 'constant'" in refusal(
        "data", "check", root, "--allow", "constnt"
    )


def test_check_finds_a_duplicate_episode(tmp_path: Path):
    root = changed(tmp_path, lambda episodes: [*episodes, replace(episodes[2], instruction="another")])
    assert found(root) == {"duplicate": ["Episode 6 has the same actions as episode 2."]}


def test_check_finds_statistics_of_other_data(root: Path, tmp_path: Path):
    def other(episodes: list[Episode]) -> None:
        for episode in episodes:
            episode.action[:, 0] *= 3

    shutil.copy(Path(changed(tmp_path, other)) / STATISTICS, root / STATISTICS)
    kinds = found(str(root))
    assert set(kinds) == {"statistics"}
    assert any(told.startswith("The stored std of action, dimension 0 (x), is") for told in kinds["statistics"])


def test_check_finds_values_outside_the_descriptions_range(tmp_path: Path):
    """The gripper is stored as 0 to 1 where −1 to 1 is described, and an action is in centimetres."""

    def other(episodes: list[Episode]) -> None:
        episodes[4].action[2, 1] = 5

    root, path = changed(tmp_path, other), tmp_path / "mine.toml"
    like_libero(path)
    (told,) = found(root, "--description", str(path))["out-of-range"]
    assert told.startswith("Dimension 1 (y) of action lies outside -1 to 1 in 1 of 30 frames") and "to 5." in told
    like_libero(path, action=describe("lerobot-calvin").action)
    assert any("Dimension 6 (grip)" in told for told in found(root, "--description", str(path))["out-of-range"])


def test_check_finds_a_quaternion_that_is_none(root: Path, tmp_path: Path):
    like_libero(tmp_path / "mine.toml", state=robomimic_state())
    kinds = found(str(root), "--description", str(tmp_path / "mine.toml"))
    assert "The quaternion of observation.state has another length than 1" in kinds["out-of-range"][0]


def robomimic_state() -> object:
    """Of eight numbers: position, quaternion, one finger."""
    state = describe("robomimic").state
    assert state is not None
    return state.model_copy(update={"width": 8, "other": {"finger": (7,)}})


def test_check_finds_a_description_of_other_data(root: Path, tmp_path: Path):
    like_libero(tmp_path / "mine.toml", fps=30, cameras={"hand": "from the hand"}, action=describe("metaworld").action)
    assert found(str(root), "--description", str(tmp_path / "mine.toml"))["described"] == [
        f"The description's camera hand is missing; there are {PICTURES}.",
        "The data have 20 frames a second, and the description says 30.",
        "action has 7 dimensions, and the description 4.",
    ]
    assert "No description named 'lbero'. Did you mean 'libero'" in refusal(
        "data", "check", str(root), "--description", "lbero"
    )


def test_check_finds_black_pictures_and_a_camera_that_stands_still(tmp_path: Path):
    def dark(episodes: list[Episode]) -> None:
        episodes[1].image[3:] = 2
        episodes[4].image[:] = episodes[4].image[0]

    root = changed(tmp_path, dark)
    assert found(root) == {
        "black": ["2 of 5 pictures of episode 1 are black, the first at frame 3."],
        "still": ["4 of 4 pictures of episode 4 equal the one before them."],
    }
    assert found(root, "--pictures", "0") == {}


def test_check_finds_a_damaged_picture(root: Path):
    edit_column(root / DATA, PICTURES, lambda rows: rows[8].update(bytes=rows[8]["bytes"][:40]))
    (told,) = found(str(root))["unreadable"]
    assert "The image of episode 1, frame 3" in told and "is damaged" in told


def test_nothing_to_check_is_a_users_mistake(tmp_path: Path):
    for command in ("inspect", "stats", "check"):
        assert "There is nothing at" in refusal("data", command, str(tmp_path / "nowhere"))


def test_convert_keeps_everything_as_it_is_stored(tmp_path: Path):
    source = write_folder(tmp_path / "source", arm())
    target = tmp_path / "new"
    arguments = ("data", "convert", str(source), str(target), "--to", "lerobot")
    assert "How many pictures a second" in refusal(*arguments) and not target.exists()
    told = answer(say(*arguments, "--fps", "20", "--format", "json"))
    dataset = open_dataset(target)
    assert told == {"path": str(target), "episodes": 6, "frames": 30, "digest": dataset.digest}
    assert dataset.fps == 20 and dataset.state_names
    for index, episode in enumerate(arm()):
        written = dataset.episode(index)
        for name in ("image", "state", "action"):
            np.testing.assert_array_equal(getattr(written, name), getattr(episode, name))
        assert written.instruction == episode.instruction
    assert "exists already" in refusal(*arguments, "--fps", "20")


def test_convert_with_a_description_gives_the_houses_convention_and_says_so(root: Path, tmp_path: Path):
    described, target = like_libero(tmp_path / "mine.toml"), tmp_path / "new"
    said = say(
        "data", "convert", str(root), str(target), "--to", "lerobot", "--description", str(tmp_path / "mine.toml")
    )
    assert said.code == 0 and "metres, radians and +1 = closed" in said.out
    dataset = open_dataset(target)
    assert dataset.action_names == ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")
    assert dataset.info.robot_type == "panda"
    for index, episode in enumerate(arm()):
        written = dataset.vectors(index).action
        np.testing.assert_array_equal(written, to_policy_actions(episode.action, described))
        np.testing.assert_allclose(from_policy_actions(written, described), episode.action, atol=1e-6)
    assert found(str(target), "--description", str(target / "meta/description.toml")) == {}


def test_convert_refuses_what_the_description_does_not_fit(root: Path, tmp_path: Path):
    target = tmp_path / "new"
    arguments = ("data", "convert", str(root), str(target), "--to", "lerobot")
    assert "are not those of 'metaworld', which have 4" in refusal(*arguments, "--description", "metaworld")
    assert "has 20 pictures a second, not 5" in refusal(*arguments, "--fps", "5")
    assert not target.exists() and sorted(path.name for path in tmp_path.iterdir()) == ["demos"]


def test_convert_writes_video(root: Path, tmp_path: Path):
    target = tmp_path / "new"
    assert say("data", "convert", str(root), str(target), "--to", "lerobot", "--video").code == 0
    dataset = open_dataset(target)
    assert dataset.info.features[PICTURES].dtype == "video" and dataset.episode(3).image.shape == (5, 8, 10, 3)


def test_split_gives_two_data_sets_that_are_the_whole(root: Path, tmp_path: Path):
    target = tmp_path / "parts"
    arguments = ("data", "split", str(root), str(target), "--share", "0.67", "--seed", "3")
    told = answer(say(*arguments, "--format", "json"))
    assert (told["training"]["episodes"], told["held-out"]["episodes"]) == (4, 2)
    chosen = [*told["training"]["episodes_of_source"], *told["held-out"]["episodes_of_source"]]
    assert sorted(chosen) == list(range(6))
    for part in ("training", "held-out"):
        dataset = open_dataset(target / part)
        assert dataset.info.robot_type == "panda" and {one.instruction for one in dataset.episodes} == set(TASKS)
        for place, index in enumerate(told[part]["episodes_of_source"]):
            np.testing.assert_array_equal(dataset.episode(place).image, arm()[index].image)
    assert "exists already" in refusal(*arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demos", "parts"]


@pytest.mark.parametrize("share", ["0", "1", "0.01"])
def test_a_split_with_an_empty_part_is_refused(root: Path, tmp_path: Path, share: str):
    assert "leaves one part empty" in refusal("data", "split", str(root), str(tmp_path / "parts"), "--share", share)
    assert not (tmp_path / "parts").exists()


def test_a_split_that_fails_leaves_nothing(root: Path, tmp_path: Path):
    edit_column(root / DATA, "action", lambda rows: rows[28].__setitem__(1, float("nan")))
    assert "'action' is nan" in refusal("data", "split", str(root), str(tmp_path / "parts"), "--share", "0.5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demos"]


def test_a_partition_is_stratified_exact_and_drawn_from_its_seed():
    instructions = ["a"] * 40 + ["b"] * 20 + ["c"] * 5 + [f"once {i}" for i in range(10)]
    parts = partition(instructions, 0.8, seed=0)
    assert len(parts.training) == 60 and sorted(parts.training + parts.held_out) == list(range(75))
    taken = [instructions[index] for index in parts.training]
    assert (taken.count("a"), taken.count("b"), taken.count("c")) == (32, 16, 4)
    assert partition(instructions, 0.8, seed=0) == parts != partition(instructions, 0.8, seed=1)
    with pytest.raises(UserError, match="A share of 0.9 of 1 episodes leaves one part empty"):
        partition(["a"], 0.9, seed=0)
