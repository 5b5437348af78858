"""The robot's state in a request: read where the policy takes it, refused by name where it is none."""

from typing import Any

import numpy as np
import pytest

from workbench.serving.observation import Keys
from workbench.serving.refusal import Refused

KEYS = Keys(image="observation/image", prompt="prompt", state="observation/state")
PICTURE = np.zeros((64, 64, 3), np.uint8)
STATE = np.array([0.01, -0.02, 0.15, -1.0])


def request(state: Any) -> dict[str, Any]:
    return {"observation/image": PICTURE, "prompt": "reach the red block", "observation/state": state}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (np.ones(3), r"'observation/state' is float64 \[3\]; expected 4 finite numbers"),
        (np.ones((1, 4)), r"is float64 \[1, 4\]"),
        (np.array([1, 2, np.nan, 4]), "with values that are not finite"),
        (np.ones(4, bool), "is bool"),
        ("near", "is of type str; expected 4 finite numbers"),
        ([1, 2, None, 4], "is of type list"),
        ([1, 2], r"\[2\]"),
    ],
)
def test_a_state_that_is_none_is_refused_by_name(state: Any, said: str):
    with pytest.raises(Refused, match=said):
        KEYS.read(request(state), 4)


def test_a_state_may_be_a_list_of_numbers_and_is_left_unread_where_nobody_takes_it():
    seen = KEYS.read(request([1, 2.5, 3, 4]), 4).state_S
    assert seen is not None and seen.tolist() == [1, 2.5, 3, 4]
    assert KEYS.read(request("anything")).state_S is None
    elsewhere = {**request(None), "robot": {"joints": STATE}}
    found = Keys("observation/image", "prompt", "robot/joints").read(elsewhere, 4).state_S
    assert found is not None and np.array_equal(found, STATE)
