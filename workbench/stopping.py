"""Being stopped while work is under way, by Ctrl-C or by SIGTERM: one sentence, no traceback."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SENTENCE = "stopped; what is recorded is kept; start the same command again"


@contextmanager
def stopped_in_a_sentence() -> Iterator[None]:
    """Both signals unwind what is under way, and all that was opened is closed; then the exit code is 130 or 143."""
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        for each in before:  # once is enough: what closes is not interrupted
            signal.signal(each, signal.SIG_IGN)
        received.append(number)
        raise KeyboardInterrupt

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    before = {each: handler for each, handler in before.items() if handler != signal.SIG_IGN}
    try:
        for each in before:
            signal.signal(each, stop)
        yield
    except BaseException as error:  # a library that was interrupted may have made another error of it
        if not received:
            raise
        print(SENTENCE, file=sys.stderr)
        raise SystemExit(128 + received[0]) from error
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
