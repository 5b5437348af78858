"""Which features of a step make up action and state, by data set: an RLDS dataset names its features as it likes.

Sources: openvla, prismatic/vla/datasets/rlds/oxe/configs.py (state and cameras) and transforms.py (actions);
tensorflow.org/datasets/catalog/{fractal20220817_data,bridge}. Only what lies in the files is joined: what openvla
changes on reading (Bridge's first step left out, its actions relabelled, grippers turned) is left undone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from workbench.data.rlds_layout import StepFeatures
from workbench.errors import UserError, unknown

OBSERVATION = "observation/"


@dataclass(frozen=True)
class Columns:
    """Paths of features below `steps`; where several make up a vector, they are joined in this order."""

    action: tuple[str, ...]
    state: tuple[str, ...]
    instruction: str
    camera: str | None = None
    """The one that is read if nothing is said, as `Dataset.cameras` names it; None for the first there is."""


WHOLE = Columns(("action",), ("observation/state",), "language_instruction")
"""What converters write that follow the RLDS builder's example: action and state are vectors already."""
BRIDGE = Columns(WHOLE.action, WHOLE.state, WHOLE.instruction, camera="image_0")
LIBERO = Columns(WHOLE.action, WHOLE.state, WHOLE.instruction, camera="image")
KNOWN: dict[str, Columns] = {
    "bridge_orig": BRIDGE,
    "bridge_dataset": BRIDGE,
    # The copy within Open X-Embodiment, openvla's `bridge_oxe`.
    "bridge": Columns(
        action=("action/world_vector", "action/rotation_delta", "action/open_gripper"),
        state=("observation/state",),
        instruction="observation/natural_language_instruction",
        camera="image",
    ),
    "fractal20220817_data": Columns(
        action=("action/world_vector", "action/rotation_delta", "action/gripper_closedness_action"),
        state=("observation/base_pose_tool_reached", "observation/gripper_closed"),
        instruction="observation/natural_language_instruction",
        camera="image",
    ),
    "libero_*": LIBERO,
    # How TensorFlow Datasets spells the class LIBERO_10 of openvla's builder, in its files too.
    "liber_o10": LIBERO,
}


def known_columns(names: Sequence[str]) -> Columns:
    """Those of the first name that is known; otherwise action and state are taken to be vectors already."""
    for name in names:
        for pattern, columns in KNOWN.items():
            if fnmatchcase(name, pattern):
                return columns
    return WHOLE


def check_columns(columns: Columns, features: StepFeatures, place: str) -> None:
    """Raises UserError, which names what there is and how to choose, where a feature is missing or is no numbers."""
    wanted = {"action": columns.action, "state": columns.state}
    for part, keys in wanted.items():
        if not keys:
            raise UserError(f"Choose at least one feature of {place} for the {part}; got none.")
        for key in keys:
            if key not in features.columns:
                error = unknown(f"numbers for the {part} at each step of {place}", key, features.columns)
                raise UserError(f"{error} Choose by open_rlds(…, columns=Columns(action, state, instruction)).")
    if columns.instruction not in features.texts:
        error = unknown(f"text at each step of {place}", columns.instruction, features.texts)
        raise UserError(f"{error} Choose by open_rlds(…, columns=Columns(action, state, instruction)).")


def dimension_names(keys: Sequence[str], features: StepFeatures) -> tuple[str, ...]:
    """`world_vector.0`, `world_vector.1`, …, `open_gripper`: what a feature is called, and the place within it."""
    names: list[str] = []
    for key in keys:
        called, column = key.rsplit("/", 1)[-1], features.columns[key]
        names += [f"{called}.{place}" for place in range(column.width)] if column.shape else [called]
    return tuple(names)
