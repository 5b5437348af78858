"""One run: seed → build → train → evaluate → record. Called in a worker process, or directly."""

import json
import platform
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import torch
from torch import Tensor

from workbench.adapt import adapt
from workbench.backbones.contract import Backbone
from workbench.benchmarks.contract import Protocol
from workbench.build import build
from workbench.collect import open_data
from workbench.compute import Place, place
from workbench.disjoint import check_disjoint
from workbench.errors import RunFailed, UserError
from workbench.evaluate import Played, Player, in_manifest_order, play, play_expert
from workbench.film import write_films
from workbench.imitate import ActionScale
from workbench.interventions import for_training
from workbench.ledger import Audit
from workbench.lesson import Lesson, demonstrations, injection
from workbench.plan import Evaluate, Finetune, Inject, Inputs, Plan, Replay, actions_of, needs, run_id
from workbench.player import player_of
from workbench.policy import Policy
from workbench.record import begin, open_record, write_episodes, write_json
from workbench.revision import revision
from workbench.stages import keep_adapters
from workbench.train import Step, train
from workbench.weights import save_weights

Report = Callable[[str, int, int], None]
"""Called with a stage's name, what is done and what there is to do."""


@dataclass(frozen=True)
class Trained:
    policy: Policy
    backbone: Backbone
    result: dict[str, Any]


def execute(plan: Plan, root: Path, report: Report = lambda stage, done, total: None) -> None:
    """Carry out `plan` and write its record under `root`. A run that met NaN is recorded as failed."""
    check_disjoint(plan, root, run=run_id(plan))
    began, folder = time.perf_counter(), begin(root, plan)
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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    result |= {"seconds": round(time.perf_counter() - began, 3), "process_peak_mib": peak, "machine": machine()}
    write_json(folder / "result.json", result)


def machine() -> dict[str, Any]:
    """What a figure may depend on: code, versions, processor, threads."""
    packages = ("torch", "transformers", "timm", "peft", "mujoco", "numpy")
    return {
        "revision": revision(),
        "python": platform.python_version(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "packages": {name: version(name) for name in packages},
    }


def _train(plan: Finetune | Inject, root: Path, folder: Path, report: Report) -> dict[str, Any]:
    actions = actions_of(plan.data)
    policy, backbone = build(
        plan.spec, plan.seed, chunk=plan.budget.chunk, root=root, compute=plan.compute, actions=actions
    )
    dataset = open_data(root, plan.data)
    frames = dataset.frames(range(len(dataset.episodes)))
    statistics = dataset.statistics["action"]
    if len(statistics.mean) != actions.width:
        raise UserError(
            f"An action of {dataset.root} has {len(statistics.mean)} numbers; the plan was made for {actions}: set "
            "data.actions to what it has."
        )
    scale = ActionScale(statistics, binary_gripper=actions.binary_gripper)
    colour, tasks = frames.image.mean(axis=(0, 1, 2)).round().astype(np.uint8), frames.tasks
    inputs = plan.inputs if isinstance(plan, Finetune) else Inputs()
    frames = for_training(frames, inputs, mean_colour=colour, seed=plan.seed)
    adapt(policy, plan.spec, seed=plan.seed)
    keep_adapters(policy, plan.spec, root)
    spot = place(plan.compute)
    spot.settle(policy)
    if isinstance(plan, Finetune):
        lesson = demonstrations(plan, policy, frames, scale=scale, backbone=backbone, spot=spot)
    else:
        state = dataset.statistics["observation.state"]
        lesson = injection(plan, policy, frames, scale=scale, state=state, backbone=backbone, spot=spot)
    began = time.perf_counter()
    losses = _fit(plan, policy, lesson, spot, folder, report)
    training_seconds = time.perf_counter() - began
    result: dict[str, Any] = {
        "weights_sha256": save_weights(policy, folder),
        "data_digest": dataset.digest,
        "action_statistics": statistics.to_json(),
        "mean_colour": colour.tolist(),
        "device": str(spot.device),
        "dtype": str(spot.dtype).removeprefix("torch."),
        "prompt": backbone.chat,
        "passes": list(backbone.passes),
        "unused_parameters": backbone.unused_parameters,
        "final_loss": float(np.mean(losses[-20:])),
        "samples": plan.budget.steps * plan.budget.batch,
        "training_seconds": round(training_seconds, 3),
        "episodes": 0,
    }
    for name, text in lesson.products.items():
        (folder / name).write_text(text)
    if lesson.told:
        result["objective"] = dict(lesson.told)
    if inputs.instruction == "task-id":
        result["tasks"] = list(tasks)
    if isinstance(plan, Finetune):
        player = Player(policy, backbone, scale, colour, spot, tasks)
        result |= _played(play(player, plan.protocol, inputs), plan.protocol, folder, report)
    return result


def _fit(
    plan: Finetune | Inject, policy: Policy, lesson: Lesson, spot: Place, folder: Path, report: Report
) -> list[float]:
    """Trains the policy under audit, writes log and ledger, and returns the loss of every step."""

    def loss(batch: Any) -> Mapping[str, Tensor]:
        with spot.autocast():
            return lesson.loss(batch)

    audit, losses = Audit(policy, plan.spec, still=lesson.still), list[float]()
    with (folder / "log.jsonl").open("w", buffering=1) as log, torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)  # layers that draw while they train (dropout) know the global generator only
        for step in train(
            lesson.model,
            lesson.batches,
            loss=loss,
            budget=plan.budget,
            rate_of=lambda name: lesson.rate_of(name, plan.spec),
            after_backward=lambda: audit.after_backward(policy),
        ):
            log.write(json.dumps(_logged(step)) + "\n")
            losses.append(step.loss)
            report("training", step.index + 1, plan.budget.steps)
    write_json(folder / "ledger.json", audit.close(policy).as_json())
    return losses


def _logged(step: Step) -> dict[str, float]:
    row = {"train/step": step.index, "train/loss": step.loss, "train/grad_norm": step.grad_norm}
    row |= {"train/lr": step.learning_rate, "train/update_s": round(step.seconds, 5)}
    return row | {f"train/{name}": part for name, part in step.parts.items()}


def _evaluate_again(plan: Evaluate, root: Path, folder: Path, report: Report) -> dict[str, Any]:
    record = open_record(root, plan.of)
    write_json(folder / "ledger.json", record.ledger())
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
    }
