"""The rules of a benchmark are data: read without its simulator, whole, and part of what a figure is called by."""

import tomllib

import pytest
from pydantic import ValidationError

from workbench.benchmarks.contract import TABLETOP_RULES, Protocol
from workbench.benchmarks.rules import FILES, Rules, benchmarks, camera_size, rules_of
from workbench.errors import UserError
from workbench.recipes import Expert, Folder, actions_of

TABLETOP = rules_of("tabletop-v1")


@pytest.mark.parametrize("name", benchmarks())
def test_every_benchmark_can_be_played_as_it_is_published_without_its_simulator(name: str):
    rules = rules_of(name)
    protocol = Protocol(benchmark=name)
    assert protocol.tasks == rules.tasks and protocol.initial_states == rules.initial_states
    assert protocol.camera == rules.cameras[0] and protocol.render == rules.renders[0]
    states = sum(rules.states.values()) or len(rules.tasks) * rules.initial_states
    assert len(protocol.manifest()) == states
    assert "http" in rules.source or rules.world == "tabletop"
    assert rules.action_form.width == len(rules.actions)
    assert Protocol.model_validate_json(protocol.model_dump_json()) == protocol


def test_the_first_benchmarks_rules_are_those_that_older_records_were_played_by():
    assert TABLETOP.digest() == TABLETOP_RULES
    assert "rules" not in Protocol(tasks=("reach",)).model_dump()


@pytest.mark.parametrize(
    "change",
    [{"horizons": {"reach": 17}}, {"success": "other"}, {"settling_steps": 1}, {"gripper": "continuous"}, {"chain": 5}],
)
def test_another_rule_is_another_digest_and_so_another_manifest(change: dict):
    changed = Rules.model_validate({**TABLETOP.model_dump(), **change})
    assert changed.digest() != TABLETOP.digest()
    played = Protocol(tasks=("reach",))
    assert played.model_copy(update={"rules": changed.digest()}).manifest_digest() != played.manifest_digest()


def test_where_rules_are_published_and_how_they_are_installed_is_no_rule():
    moved = TABLETOP.model_copy(update={"source": "elsewhere", "extra": "other", "initial_states": 7})
    assert moved.digest() == TABLETOP.digest()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cameras": ["front"]}, "does not end with its size"),
        ({"cameras": []}, "at least 1 item"),
        ({"horizons": {"reach": 0}}, "at least one control step"),
        ({"horizon": 3}, "Extra inputs"),
        ({"fps": 0}, "greater than 0"),
        ({"misnamed": {"reach": "touch another"}}, "one for each task"),
        ({"states": {"reach": 1}}, "for each task or for none"),
        ({"states": dict.fromkeys(TABLETOP.tasks, 1)}, "initial_states is the most"),
        ({"paraphrases": False, "paraphrased": dict.fromkeys(TABLETOP.tasks, "go")}, "need their switch"),
    ],
)
def test_rules_that_cannot_be_played_are_refused(change: dict, said: str):
    with pytest.raises(ValidationError, match=said):
        Rules.model_validate({**tomllib.loads((FILES / "tabletop-v1.toml").read_text()), **change})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"benchmark": "metaworld-mt1"}, "No benchmark named 'metaworld-mt1'. Did you mean 'metaworld-mt10'"),
        ({"benchmark": "metaworld-mt10", "tasks": ["reach"]}, "No task named 'reach'. Did you mean 'reach-v3'"),
        ({"benchmark": "metaworld-mt10", "camera": "corner4 65x65"}, "camera: No camera of metaworld-mt10"),
        ({"benchmark": "metaworld-mt10", "render": "fast"}, "render: No render mode of metaworld-mt10"),
        ({"tasks": ["reach", "reach"]}, "named twice"),
        ({"horizon": 0}, "greater than or equal to 1"),
    ],
)
def test_a_protocol_asks_only_for_what_its_benchmark_has(given: dict, said: str):
    with pytest.raises(ValidationError) as caught:
        Protocol.model_validate(given)
    assert said in str(caught.value)


def test_an_unknown_benchmark_is_told_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'tabletop-v1'"):
        rules_of("tabletop")


def test_a_camera_is_named_with_its_size():
    assert camera_size("front 64x48") == (64, 48)
    for camera in ("front", "front 64", "front 64x", "front x64", "front axb"):
        with pytest.raises(ValueError, match="does not end with its size"):
            camera_size(camera)


def test_what_an_action_is_comes_from_the_benchmark_or_is_said_of_a_folder():
    assert actions_of(Expert(tasks=("reach",))) == TABLETOP.action_form
    assert actions_of(Folder(path="x")) == TABLETOP.action_form
    assert str(actions_of(Folder(path="x", gripper="continuous", actions=4))) == "4 numbers with a continuous gripper"
