"""Which description says how actions of reversed pairs of pictures are undone: `inverse-dynamics:reversed=tabletop`."""

import re

from workbench.data.description import Description, describe
from workbench.errors import UserError

REVERSED, FILE = "reversed=", ".toml"


def read_reversal(choice: str) -> str:
    """The description's name. Raises UserError for another choice, and for a ready one that cannot be undone.

    A file is not opened here: a recorded plan names it where it is no more.
    """
    found = re.fullmatch(r"reversed\s*=\s*(\S.*)", choice)
    if found is None:
        raise UserError(
            f"'inverse-dynamics:{choice}' is not understood: write inverse-dynamics:reversed=DESCRIPTION, a ready one "
            "or a TOML file, which says what the data's actions mean."
        )
    if not found[1].endswith(FILE):
        check_undoable(describe(found[1]))
    return found[1]


def check_undoable(description: Description) -> None:
    """Raises UserError, with the reason, where nothing says which action would lead back."""
    action = description.action
    parts = [part for part in (action.translation, action.rotation) if part]
    reasons = {
        "has actions that are places to go to, and where the arm came from is not in them": any(
            part.means == "absolute" for part in parts
        ),
        "moves along the hand's own axes, which may have turned meanwhile": any(
            part.frame == "end-effector" for part in parts
        ),
        f"says of {', '.join(action.other)} only that they are there": bool(action.other),
        "says nothing of how actions move the arm": not parts,
    }
    for reason, found in reasons.items():
        if found:
            raise UserError(f"Actions of '{description.name}' cannot be undone: it {reason}. Leave reversed= out.")
