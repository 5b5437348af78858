import tomllib
from pathlib import Path

import pytest
from tables import RULES

from workbench.benchmarks.tabletop.world import STEP
from workbench.data.description import READY, Description, describe, ready, to_toml
from workbench.errors import UserError

ROOT = Path(__file__).parent.parent


@pytest.fixture
def changed(tmp_path: Path):
    """LIBERO's description with one piece of text replaced, as a file."""

    def change(old: str, new: str) -> str:
        text = (READY / "libero.toml").read_text()
        assert old in text
        path = tmp_path / "mine.toml"
        path.write_text(text.replace(old, new, 1))
        return str(path)

    return change


def test_the_promised_descriptions_are_there():
    promised = {"tabletop", "libero", "calvin", "bridge", "robomimic", "metaworld", "lerobot-calvin"}
    assert promised <= set(ready())


@pytest.mark.parametrize("name", ready())
def test_every_ready_description_says_its_name_its_source_and_what_every_action_is(name: str):
    description = describe(name)
    assert description.name == name and description.licence
    assert (READY / f"{name}.toml").read_text().startswith("# Source: ")
    assert not description.action.other and description.action.translation and description.action.gripper


@pytest.mark.parametrize("name", ready())
def test_a_description_written_is_read_back_as_it_was(name: str, tmp_path: Path):
    description = describe(name)
    path = tmp_path / "again.toml"
    path.write_text(to_toml(description))
    assert describe(str(path)) == description


def test_the_tabletops_description_is_the_tabletop():
    description = describe("tabletop")
    translation = description.action.translation
    assert translation is not None and translation.unit_m == STEP and description.fps == RULES.fps
    assert description.action.width == len(RULES.actions) and RULES.actions[6] == "gripper"
    assert description.state is not None and description.state.width == len(RULES.state)


def test_a_description_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        describe("libero").name = "other"


def test_an_unknown_name_and_a_missing_file_are_refused():
    with pytest.raises(UserError, match="No description named 'lbero'. Did you mean 'libero'"):
        describe("lbero")
    with pytest.raises(UserError, match="There is no description nowhere.toml. Ready ones: bridge, calvin"):
        describe("nowhere.toml")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("fps = 20", "fsp = 20", "fsp: Extra inputs are not permitted"),
        ("unit_m = 0.05", "", "action.translation.unit_m: Field required"),
        ('frame = "base"', 'frame = "hand"', "action.translation.frame: Input should be 'base' or 'end-effector'"),
        ("dimension = 6", "dimension = 5", "each of the dimensions 0 to 6 needs one meaning"),
        ("[3, 4, 5]", "[3, 4]", "action.rotation: Value error, axis-angle has 3 dimensions, not 2"),
        ("unit_rad = 0.5", "", "unit_rad belongs to euler-xyz and axis-angle"),
        ('means = "delta"\nframe = "base"\nform', 'means = "difference"\nframe = "base"\nform', "only Euler angles"),
        ("threshold = 0", "threshold = 1", "threshold 1.0 does not lie between open"),
        ("[action]", "[action", "is not TOML"),
    ],
)
def test_a_description_that_does_not_hold_together_is_refused_by_its_key(changed, old: str, new: str, sentence: str):
    with pytest.raises(UserError, match=sentence):
        describe(changed(old, new))


def test_ranges_are_told_by_dimension_and_the_grippers_are_its_ends():
    assert describe("libero").action.ranges() == {dimension: (-1, 1) for dimension in range(7)}
    assert describe("bridge").action.ranges() == {6: (0, 1)}


def test_the_descriptions_are_part_of_the_package():
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "workbench.data" in built["packages"]
    assert "descriptions/*.toml" in built["package-data"]["workbench.data"]


def test_a_description_needs_no_state():
    assert isinstance(describe("libero"), Description) and describe("lerobot-calvin").state is None


def test_the_page_names_every_ready_description_and_its_example_is_one(tmp_path: Path):
    page = (ROOT / "docs/data.md").read_text().split("## Descriptions")[1].split("\n## ")[0]
    assert all(f"| `{name}` |" in page for name in ready())
    (tmp_path / "example.toml").write_text(page.split("```toml\n")[1].split("```")[0])
    assert describe(str(tmp_path / "example.toml")).action.gripper
