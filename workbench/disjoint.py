"""Episodes that are learned from and episodes that are played must differ: checked along the whole lineage of a run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from workbench.errors import UserError
from workbench.plan import Evaluate, Finetune, Inject, Plan, Replay, needs
from workbench.recipes import Data, Expert
from workbench.record import open_record


def lineage(plan: Plan, root: Path, known: Mapping[str, Plan]) -> Iterator[Plan]:
    """The plan itself, then those of all runs that it starts from: known ones, or finished ones under `root`."""
    yield plan
    for id in needs(plan):
        yield from lineage(known[id] if id in known else open_record(root, id).plan, root, known)


def check_disjoint(plan: Plan, root: Path, *, run: str, known: Mapping[str, Plan] = MappingProxyType({})) -> None:
    """Raises UserError where the run would play episodes that it, or a run that it starts from, was trained on.

    And where a policy's own demonstrations are those of an injection that it starts from: that one's worth could then
    not be told from more training.
    """
    past = list(lineage(plan, root, known))
    injected = [one.data for one in past if isinstance(one, Inject)]
    trained = [one.data for one in past if isinstance(one, Finetune)]
    played = {one.protocol.split for one in past[:1] if isinstance(one, Finetune | Evaluate | Replay)}
    for data in (*injected, *trained):
        if isinstance(data, Expert) and data.split in played:
            raise UserError(
                f"The run {run} plays the {data.split!r} episodes, which it or a run that it starts from was trained "
                "on: start from a run of another split, or play another one."
            )
    for data in trained:
        if any(_same(data, other) for other in injected):
            raise UserError(
                f"The run {run} is trained on the episodes of the injection that it starts from ({_named(data)}): give "
                "the two different ones."
            )


def _same(one: Data, other: Data) -> bool:
    """Whether two sets of demonstrations share episodes: the same split, or the same folder's content."""
    if isinstance(one, Expert) and isinstance(other, Expert):
        return one.split == other.split
    return not isinstance(one, Expert) and not isinstance(other, Expert) and one.digest == other.digest


def _named(data: Data) -> str:
    return f"split {data.split!r}" if isinstance(data, Expert) else data.path
