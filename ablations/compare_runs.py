"""Two runs, or two arms of a study, against each other: from what is recorded."""

import json
import re
from pathlib import Path
from typing import Literal

import numpy as np

from ablations.contrasts import MARGIN
from ablations.gather import gather
from ablations.notation import effect, percent, plural, points, probability
from ablations.statistics.cell import cell
from ablations.statistics.contrast import contrast, equivalent, mcnemar
from ablations.statistics.design import Outcomes, shared
from ablations.statistics.sequential import decided_at
from ablations.study_file import read_study
from ablations.table import Figure
from workbench.errors import UserError, unknown
from workbench.plan import Inject
from workbench.record import Record, open_record
from workbench.screens.console import console


def show_difference(a: str, b: str, study: str | None, root: Path, format: Literal["terminal", "json"]) -> None:
    """Success of `a` minus success of `b`, with what is needed to judge it."""
    if a == b:
        raise UserError(f"{a} is compared with itself: name two different ones.")
    first, second = _arms(a, b, study, root) if study else _runs(a, b, root)
    estimate = contrast(first, second)
    if estimate is None:
        nothing = " and ".join(name for name, played in ((a, first), (b, second)) if not played)
        raise UserError(f"Nothing that {nothing} played is recorded in {root}: there is nothing to compare.")
    exact, same = mcnemar(first, second), equivalent(estimate, MARGIN)
    decided = {seed: int(decided_at(first[seed], second[seed])) for seed in shared(first, second)}
    if format == "json":
        interval = {"difference": estimate.value, "ci95": [estimate.low, estimate.high], "p": estimate.p}
        judged = {"seeds": estimate.seeds, "mde": estimate.smallest_detectable, "mcnemar": exact, "equivalent": same}
        arms = {"a": a, "b": b, "success": {a: _success(first).value, b: _success(second).value}}
        sooner = {"paired": estimate.paired, "decided_after": decided}
        print(json.dumps(arms | interval | judged | sooner, indent=1))
        return
    for name, played in ((a, first), (b, second)):
        _print_success(name, played)
    figure = Figure(value=estimate.value, low=estimate.low, high=estimate.high, seeds=estimate.seeds)
    console.print(f"{a} − {b}: {points(figure)} points, p {probability(estimate.p)}", style="bold", markup=False)
    paired = f"paired over {plural(estimate.seeds, 'seed')}" if estimate.paired else "no seed in common: not paired"
    console.print(f"smallest detectable effect {effect(estimate.smallest_detectable)} points, {paired}")
    if exact:
        console.print(f"McNemar within each seed: {', '.join(probability(p) for p in exact.values())}")
        after = ", ".join(str(episodes) if episodes else "never" for episodes in decided.values())
        console.print(f"episodes until they are told apart within each seed (anytime-valid): {after}")
    console.print(f"equivalent within ±{100 * MARGIN:.0f} points (TOST): {'yes' if same else 'not shown'}")
    if figure.screening:
        console.print("* screening: fewer than 3 training seeds support no claim.")


def _success(played: Outcomes) -> Figure:
    found = cell(played)
    assert found is not None, "what has played nothing was refused"
    return Figure(value=found.value, low=found.low, high=found.high, seeds=len(played))


def _print_success(name: str, played: Outcomes) -> None:
    episodes = plural(len(next(iter(played.values()))), "episode")
    trials = f"{plural(len(played), 'seed')} × {episodes}"
    console.print(f"{name}: {percent(_success(played))} %  ({trials})", markup=False)


def _arms(a: str, b: str, study: str, root: Path) -> tuple[Outcomes, Outcomes]:
    arms = {arm.name: arm for arm in gather(read_study(study), root).arms}
    for name in (a, b):
        if name not in arms:
            raise unknown("arm", name, arms)
        if arms[name].dropped:
            raise UserError(f"The arm '{name}' was {arms[name].dropped}: it played nothing that is reported.")
    return arms[a].outcomes, arms[b].outcomes


def _runs(a: str, b: str, root: Path) -> tuple[Outcomes, Outcomes]:
    """One run each: a single training, whatever its seed. Raises UserError where they played different episodes."""
    for name in (a, b):
        if not re.fullmatch("[0-9a-f]{12}", name):
            raise UserError(f"{name!r} is not the id of a run; to compare arms, name their study: --study demo.")
    records = [_played(open_record(root, id)) for id in (a, b)]
    manifests = [record.result["manifest"] for record in records]
    if manifests[0] != manifests[1]:
        raise UserError(f"{a} and {b} played different episodes ({manifests[0]}, {manifests[1]}): not comparable.")
    first, second = ({0: np.array([o.success for o in record.outcomes()])} for record in records)
    return first, second


def _played(record: Record) -> Record:
    if record.error is not None or isinstance(record.plan, Inject):
        reason = f"failed ({record.error})" if record.error else "is an injection"
        raise UserError(f"The run {record.id} {reason} and played nothing.")
    return record
