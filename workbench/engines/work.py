"""One order, carried out under its claim by a worker of any engine."""

import errno
import os
import traceback
from collections.abc import Callable
from pathlib import Path

from workbench.claim import Taken, claimed
from workbench.engines.contract import Event, Order
from workbench.errors import UserError
from workbench.plan import Job
from workbench.recipes import Expert
from workbench.record import collected_folder, is_done


def do(order: Order, root: Path, tell: Callable[[Event], None]) -> Event:
    """Carries out `order`, tells how far it is, and returns how it ended."""
    try:
        perform = _performer(order.job, root)
        with claimed(root, order.id, over=order.over) as claim:

            def report(stage: str, done: int, total: int) -> None:
                claim.confirm() if done == total else claim.check()  # what a whole stage came to is written next
                tell(Event(order.id, stage, done, total))

            if not _done_by_now(root, order):
                perform(report)
        return Event(order.id, "recorded")
    except Exception as error:
        return _ended(order.id, error, root / order.id)


def _performer(job: Job, root: Path) -> Callable[[Callable[[str, int, int], None]], object]:
    """What carries out the job, with all that takes long to import: the claim is new when it begins."""
    if isinstance(job, Expert):
        from workbench.collect import collect

        folder = collected_folder(root, job)
        return lambda report: collect(job, folder, progress=lambda done, total: report("collecting", done, total))
    from workbench.execute import execute

    return lambda report: execute(job, root, report)


def _done_by_now(root: Path, order: Order) -> bool:
    """`is_done`, of the file system as it is at this moment.

    A network file system may remember that a file was not there; opening its folder makes it ask again.
    """
    folder = collected_folder(root, order.job).parent if isinstance(order.job, Expert) else root / order.id
    for parent in (root, folder):
        if parent.is_dir():
            os.listdir(parent)
    return is_done(root, order.job)


def _ended(id: str, error: Exception, folder: Path) -> Event:
    """A user's mistake and a full disk are told in a sentence, our own mistakes with their traceback."""
    match error:
        case Taken():
            return Event(id, "taken")
        case UserError():
            return Event(id, "broken", error=str(error))
        case OSError(errno=errno.ENOSPC):
            return Event(id, "disk-full", error=str(error.filename or folder))
        case _:
            return Event(id, "broken", error="".join(traceback.format_exception(error)))
