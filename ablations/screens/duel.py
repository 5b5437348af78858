"""What a person sees of a duel: how far it is, who won, and what its figures are good for."""

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Literal

from ablations.duel import FIRST, SECOND, Verdict, drawn_order, duel, duel_rounds
from ablations.statistics.interval import ALPHA
from workbench.benchmarks.contract import Protocol
from workbench.errors import UserError
from workbench.publish import policy_digest, read_config
from workbench.results import Sitting
from workbench.screens.console import console, stage, told_aside
from workbench.screens.policy import Asked
from workbench.shards import FolderPerformer, perform

CAUTION = "Success rates of an evaluation that was stopped lean towards the reason why it stopped."


def show_duel(a: Path, b: Path, asked: Asked, seed: int, format: Literal["terminal", "json"]) -> None:
    """Play `a` against `b` until it is decided or the manifest ends, and print who won."""
    protocol = _common_protocol(a, b, asked)
    with told_aside(format == "json"):
        verdict, sitting = _fought(a, b, protocol, asked, seed)
    names = {FIRST: a, SECOND: b, None: None}
    if format == "json":
        shares = {str(a): verdict.solved_first / verdict.episodes, str(b): verdict.solved_second / verdict.episodes}
        found = {"winner": verdict.winner and str(names[verdict.winner]), "decided": verdict.decided, "alpha": ALPHA}
        told = {"episodes": verdict.episodes, "won_by_a_alone": verdict.won, "won_by_b_alone": verdict.lost}
        how = {"e_value": verdict.e_value, "seed": seed, "manifest": protocol.manifest_digest(), **sitting.as_json()}
        caution = {"caution": CAUTION} if verdict.decided else {}
        print(json.dumps({"a": str(a), "b": str(b), **found, "success": shares, **told, **how, **caution}, indent=1))
        return
    winner = names[verdict.winner]
    after = f"after {verdict.episodes} of {len(protocol.manifest())} episodes each (alpha {ALPHA})"
    said = f"{winner} is better, decided {after}" if winner else f"not told apart {after}"
    console.print(said, style="bold", markup=False, highlight=False)
    for folder, solved in ((a, verdict.solved_first), (b, verdict.solved_second)):
        share = f"{solved} of {verdict.episodes}, {100 * solved / verdict.episodes:.1f} %"
        console.print(f"{folder}: {share}", markup=False, highlight=False)
    console.print(f"solved by the first alone {verdict.won}, by the second alone {verdict.lost}", highlight=False)
    console.print(CAUTION if verdict.decided else "This does not show that they are equally good.")
    console.print(str(sitting), highlight=False)


def _common_protocol(a: Path, b: Path, asked: Asked) -> Protocol:
    """What both play. Raises UserError where they are one policy, or were made for different things."""
    if policy_digest(a) == policy_digest(b):
        raise UserError(f"{a} and {b} are the same policy: name two different ones.")
    first, second = (asked.protocol(read_config(folder), policies=2) for folder in (a, b))
    if first != second:
        differing = [name for name in Protocol.model_fields if getattr(first, name) != getattr(second, name)]
        raise UserError(
            f"{a} and {b} were made for different protocols ({', '.join(differing)} differ): name what both play, such "
            "as --task reach --episodes 100, or take policies of one protocol."
        )
    return first


def _fought(a: Path, b: Path, protocol: Protocol, asked: Asked, seed: int) -> tuple[Verdict, Sitting]:
    """The last verdict, and how many episodes were played for it by both together."""
    performers = {FIRST: FolderPerformer(a, protocol, asked.device), SECOND: FolderPerformer(b, protocol, asked.device)}
    order, began, verdict = drawn_order(protocol, seed), time.perf_counter(), None
    told = perform(performers, duel_rounds(order, protocol), workers=asked.workers)
    with stage("Playing", f"{a} against {b}, until they are told apart") as progress, closing(told):
        for verdict in duel(told, order):
            progress(verdict.episodes, len(order), f"{verdict.won} : {verdict.lost}")
    assert verdict is not None, "a protocol has at least one episode"
    return verdict, Sitting(2 * verdict.episodes, time.perf_counter() - began)
