"""One run: seed → build → train → evaluate → record. Called in a worker process, or directly."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, assert_never

import numpy as np

from workbench.benchmarks.contract import Protocol
from workbench.disjoint import check_disjoint
from workbench.errors import RunFailed
from workbench.evaluate import Played, Player, in_manifest_order, play_expert
from workbench.film import write_films
from workbench.peak import forget_peak, peak_mib
from workbench.plan import Evaluate, Finetune, Inject, Plan, Replay, needs, run_id
from workbench.player import player_of
from workbench.provenance import command, hardware, machine, now
from workbench.record import (
    CHECKPOINTS,
    LEDGER,
    RECORDING,
    begin,
    open_record,
    write_episodes,
    write_json,
    write_result,
)
from workbench.restarts import play
from workbench.training.distributed import hired
from workbench.training.effort import GpuPeak, first_step, memory, pace
from workbench.training.fit import Fit
from workbench.training.ready import ready
from workbench.weights import save_weights

Report = Callable[[str, int, int], None]
"""Called with a stage's name, what is done and what there is to do."""


def execute(plan: Plan, root: Path, report: Report = lambda stage, done, total: None) -> None:
    """Carry out `plan` and write its record under `root`. A run that met NaN is recorded as failed."""
    check_disjoint(plan, root, run=run_id(plan))
    began, started, folder, forgotten = time.perf_counter(), now(), begin(root, plan), forget_peak()
    try:
        for id in needs(plan):
            if error := open_record(root, id).error:
                raise RunFailed(f"the run {id}, which this one starts from, failed: {error}")
        match plan:
            case Finetune() | Inject():
                result = _train(plan, root, folder, report)
            case Evaluate():
                result = _evaluate_again(plan, root, folder, report)
            case Replay():
                result = _played(play_expert(plan.protocol), plan.protocol, folder, report)
            case _:
                assert_never(plan)
    except RunFailed as error:
        result = {"error": f"{type(error).__name__}: {error}", "episodes": 0}
    peak = peak_mib() if forgotten else None
    result |= {"seconds": round(time.perf_counter() - began, 3), "process_peak_mib": peak, "machine": machine()}
    result["provenance"] = {"command": command(), "began": started, "ended": now(), "hardware": hardware()}
    report(RECORDING, 1, 1)
    write_result(folder, result)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _train(plan: Finetune | Inject, root: Path, folder: Path, report: Report) -> dict[str, Any]:
    with hired(plan, root) as group:
        start = ready(plan, root, group)
        step = first_step(plan, start)
        policy, backbone, lesson, spot = start.policy, start.backbone, start.lesson, start.spot
        fit, gpus = Fit(plan, policy, lesson, spot, folder, group), GpuPeak(policy.places.values())
        fitted = fit.run(lambda done: report("training", done, plan.budget.steps))
        held = memory(start, step, fit.training.state()) | gpus.as_json()
    samples = plan.budget.steps * plan.budget.batch
    result: dict[str, Any] = {
        "weights_sha256": save_weights(policy, folder),
        "data_digest": start.dataset.digest,
        "action_statistics": start.dataset.statistics["action"].to_json(),
        "mean_colour": start.colour.tolist(),
        "device": str(spot.device),
        "dtype": str(spot.dtype).removeprefix("torch."),
        "prompt": backbone.chat,
        "passes": list(backbone.passes),
        "unused_parameters": backbone.unused_parameters,
        "final_loss": float(np.mean(fitted.losses[-20:])),
        "samples": samples,
        "training_seconds": round(fitted.seconds.total, 3),
        "training_seconds_of": {name: round(value, 3) for name, value in asdict(fitted.seconds).items()},
        **step.flops(),
        **held,
        **pace(step, start, samples=samples, seconds=fitted.seconds.total),
        "resumed": fitted.resumed,
        "checkpoints_refused": fitted.refused,
        **({"processes": fitted.processes} if plan.compute.pieces > 1 else {}),
        "episodes": 0,
    }
    if start.proprioception:
        result["state_statistics"] = start.proprioception.statistics.to_json()
    if start.features:
        start.features.close()
        result["features"] = {"computed": start.features.computed, "reused": start.features.reused}
    for name, text in lesson.products.items():
        (folder / name).write_text(text)
    if lesson.told:
        result["objective"] = dict(lesson.told)
    if isinstance(plan, Finetune):
        if plan.inputs.instruction == "task-id":
            result["tasks"] = list(start.tasks)
        player = Player(policy, backbone, start.scale, start.colour, spot, start.tasks, start.proprioception)
        result |= _played(play(player, plan.protocol, plan.inputs), plan.protocol, folder, report)
    return result


def _evaluate_again(plan: Evaluate, root: Path, folder: Path, report: Report) -> dict[str, Any]:
    record = open_record(root, plan.of)
    write_json(folder / LEDGER, record.ledger())
    return _played(play(player_of(record), plan.protocol, plan.inputs), plan.protocol, folder, report)


def _played(episodes: Iterator[Played], protocol: Protocol, folder: Path, report: Report) -> dict[str, Any]:
    """Plays all episodes, writes their outcomes and films, and returns what is to be recorded."""
    total, played, began = len(protocol.manifest()), list[Played](), time.perf_counter()
    for one in episodes:
        played.append(one)
        report("playing", len(played), total)
    seconds = time.perf_counter() - began
    played = in_manifest_order(played, protocol)
    outcomes = [one.outcome for one in played]
    write_films(played, protocol, folder / "films")
    return {
        "episodes": len(outcomes),
        "episodes_sha256": write_episodes(folder, outcomes),
        "manifest": protocol.manifest_digest(),
        "success": float(np.mean([o.success for o in outcomes])),
        "playing_seconds": round(seconds, 3),
        "faults": sum(bool(outcome.fault) for outcome in outcomes),
    }
