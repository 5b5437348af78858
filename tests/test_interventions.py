"""What a policy is given in place of its inputs, at training and at play."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tables import tables

from ablations.arms import Arm
from workbench.benchmarks.contract import Protocol
from workbench.benchmarks.tabletop.env import layout_and_goal
from workbench.benchmarks.tabletop.tasks import FAMILIES
from workbench.data.contract import Frames
from workbench.errors import UserError
from workbench.evaluate import Player
from workbench.interventions import Interventions, for_training
from workbench.plan import Finetune, Inputs
from workbench.restarts import play

PROTOCOL = Protocol(tasks=("reach", "stack"), initial_states=3)
COLOUR = np.array([10, 20, 30], np.uint8)
TASKS = ("reach the red block", "lift the blue block")


class Witness(Player):
    """Writes down what it is given and stays where it is."""

    def __init__(self) -> None:
        self.__dict__.update(mean_colour=COLOUR, tasks=("reach the red block",), proprioception=None, given=[])
        self.__dict__["policy"] = type("Policy", (), {"head": type("Head", (), {"chunk": 2})})

    def act(
        self,
        pixels_BHWC: np.ndarray,
        instructions: list[str],
        *,
        noise: Sequence[torch.Generator],
        state_BS: np.ndarray | None = None,
    ) -> np.ndarray:
        assert state_BS is None
        self.__dict__["given"].append((pixels_BHWC.copy(), tuple(instructions)))
        return np.tile([0.3, 0.3, 0, 0, 0, 0, -1], (len(instructions), 2, 1))


def given(inputs: Inputs) -> list[tuple[np.ndarray, tuple[str, ...]]]:
    """What the policy was given at each decision: pictures of the six episodes, and sentences."""
    witness = Witness()
    list(play(witness, PROTOCOL, inputs))
    return witness.__dict__["given"]


def sentences(how: str) -> tuple[str, ...]:
    return given(Inputs.model_validate({"instruction": how}))[0][1]


def pictures(how: str) -> tuple[np.ndarray, np.ndarray]:
    """At the first and at the second decision."""
    found = given(Inputs.model_validate({"image": how}))
    return found[0][0], found[1][0]


def test_nothing_is_changed_by_default():
    first, second = pictures("seen")
    env = tables(1)
    np.testing.assert_array_equal(first, [env.first_frame(start) for start in PROTOCOL.manifest()])
    env.close()
    assert not np.array_equal(first, second)
    assert sentences("given") == tuple(layout_and_goal(start)[1].instruction for start in PROTOCOL.manifest())


def test_a_blank_image_is_the_mean_colour_of_the_training_images():
    for image in pictures("blank"):
        np.testing.assert_array_equal(image, np.broadcast_to(COLOUR, image.shape))


def test_a_first_frame_stays_and_is_the_episodes_own():
    first, second = pictures("first-frame")
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, pictures("seen")[0])


def test_the_picture_of_another_episode_is_the_first_one_of_the_next():
    first, second = pictures("other-episode")
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, np.roll(pictures("seen")[0], -1, axis=0))


def test_noise_is_drawn_anew_for_each_frame_and_the_same_in_each_evaluation():
    first, second = pictures("noise")
    assert not np.array_equal(first, second) and 100 < first.mean() < 155
    np.testing.assert_array_equal(first, pictures("noise")[0])


def test_a_wrong_instruction_names_another_block_of_the_same_scene():
    for start, told in zip(PROTOCOL.manifest(), sentences("wrong"), strict=True):
        layout, goal = layout_and_goal(start)
        block = told.removeprefix(f"{goal.family} the ").split()[0]
        assert block in layout.colours[:3] and block != layout.colours[goal.thing]


def test_the_instruction_of_another_episode_is_never_the_own_one():
    own = sentences("given")
    assert all(told != said and told in own for told, said in zip(sentences("other-episode"), own, strict=True))


def test_scrambled_words_are_the_same_words():
    own, told = sentences("given"), sentences("scrambled")
    assert [sorted(one.split()) for one in told] == [sorted(one.split()) for one in own] and told != own
    assert told == sentences("scrambled")


def test_a_paraphrase_says_the_same_in_words_of_no_demonstration():
    told = sentences("paraphrased")
    for start, said in zip(PROTOCOL.manifest(), told, strict=True):
        layout, goal = layout_and_goal(start)
        assert layout.colours[goal.thing] in said and not said.startswith(FAMILIES[goal.family].phrase.split()[0])
    assert len(set(told)) == len(told)


def test_success_is_measured_by_the_true_instruction():
    outcomes = [one.outcome.instruction for one in play(Witness(), PROTOCOL, Inputs(instruction="wrong"))]
    assert sorted(outcomes) == sorted(sentences("given"))


def test_one_episode_cannot_be_given_another_ones():
    alone = PROTOCOL.model_copy(update={"tasks": ("reach",), "initial_states": 1})
    for inputs in (Inputs(image="other-episode"), Inputs(instruction="other-episode")):
        with pytest.raises(UserError, match="another one"):
            list(play(Witness(), alone, inputs))


def frames() -> Frames:
    """Two episodes of three and two steps."""
    image = np.arange(5, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 4, 4, 3), np.uint8)
    zeros = np.zeros((5, 7), np.float32)
    step, episode = np.array([0, 1, 2, 0, 1]), np.array([0, 0, 0, 1, 1])
    return Frames(image, zeros[:, :4], zeros, episode, step, episode, TASKS)


def trained(**inputs: str) -> Frames:
    return for_training(frames(), Inputs.model_validate(inputs), mean_colour=COLOUR, seed=3)


def told(changed: Frames) -> list[str]:
    return [changed.tasks[index] for index in changed.task_index]


def test_demonstrations_stay_as_they_are_by_default():
    same = trained()
    np.testing.assert_array_equal(same.image, frames().image)
    assert told(same) == [TASKS[0]] * 3 + [TASKS[1]] * 2


@pytest.mark.parametrize(("how", "levels"), [("first-frame", [0, 0, 0, 3, 3]), ("other-episode", [3, 3, 3, 0, 0])])
def test_training_pictures_are_first_frames_where_asked(how: str, levels: list[int]):
    assert trained(image=how).image[:, 0, 0, 0].tolist() == levels


def test_training_pictures_are_plain_where_asked():
    assert (trained(image="blank").image == COLOUR).all()


def test_training_sentences_are_what_is_asked():
    assert told(trained(instruction="blank")) == [""] * 5
    assert told(trained(instruction="other-episode")) == [TASKS[1]] * 3 + [TASKS[0]] * 2
    assert told(trained(instruction="task-id")) == ["task 1"] * 3 + ["task 0"] * 2
    assert [sorted(one.split()) for one in told(trained(instruction="scrambled"))[2:4]] == [
        sorted(task.split()) for task in TASKS
    ]


def test_a_task_id_at_play_is_that_of_training_and_a_new_task_has_none():
    start = PROTOCOL.manifest()[0]
    known = Interventions(Inputs(instruction="task-id"), COLOUR, TASKS, PROTOCOL.manifest())
    assert known.told(tables(1), start, TASKS[1]) == "task 0"
    with pytest.raises(UserError, match="'lift the pink block' is none"):
        known.told(tables(1), start, "lift the pink block")


@pytest.mark.parametrize("inputs", [{"image": "noise"}, {"instruction": "wrong"}, {"instruction": "paraphrased"}])
def test_what_only_a_scene_knows_is_not_trained_on(inputs: dict[str, str]):
    plan = {"spec": {}, "data": {"kind": "expert"}, "budget": {}, "protocol": {}, "inputs": inputs}
    with pytest.raises(ValidationError, match="train"):
        Finetune.model_validate(plan)


def test_a_policy_that_learned_words_is_not_given_task_ids():
    with pytest.raises(ValidationError, match="train it so too"):
        Arm.model_validate({"name": "numbered", "inputs": {"instruction": "task-id"}})
