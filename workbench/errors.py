"""What a user did that cannot be done: one plain sentence, exit code 2, no traceback."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from encoders.errors import EncoderError


class UserError(Exception):
    """A sentence that names the value, the choices and the remedy."""


class RunFailed(RuntimeError):
    """A run came to nothing; it is recorded as failed, with this reason."""


class SimulatorFailed(RunFailed):
    """A simulator in its own process failed, ended or did not answer in time."""


class NotFinite(RunFailed):
    """A loss or a gradient was NaN or infinite; raised before the optimiser could use it."""


@contextmanager
def encoder_errors() -> Iterator[None]:
    """What `encoders` says of a name, a file or a card is said to the user as it is."""
    try:
        yield
    except EncoderError as error:
        raise UserError(str(error)) from error


def unknown(kind: str, name: str, choices: Iterable[str]) -> UserError:
    """`No encoder named 'dinov2-smal'. Did you mean 'dinov2-small'? Known: …`"""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UserError(f"No {kind} named '{name}'.{hint} Known: {', '.join(known)}.")
