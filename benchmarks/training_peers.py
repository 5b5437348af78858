"""What training an arm costs here, and written plainly for others: run by hand, prints ratios, is no test.

    python benchmarks/training_peers.py --steps 60

Three arms of the study `modality` are trained on the same demonstrations, for the same steps and to the same losses:

- ours: a run as `workbench run` trains it, with ledger, log, checkpoints and weights, but without its evaluation;
- once: the same where everything below the head is frozen, with the prefix read once (`Language.prefix_once`);
- bare: a loop in plain PyTorch around the model of `plain_policy.py`;
- trainer, accelerate, lightning: the same model handed to Hugging Face's Trainer, to accelerate, and to Lightning
  (where it is installed).

Each is a process of its own, imports, loading and saving included, one after the other in turn, so that a busy machine
hits all alike. What is compared is processor time, of the whole process.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

if TYPE_CHECKING:
    from workbench.plan import Finetune

FROZEN = {
    "all-trained": (),
    "freeze-vision": ("vision_tower",),
    "head-only": ("vision_tower", "multi_modal_projector", "language_model"),
}
"""By arm, the parts of transformers' model that stay as they are."""
PEERS = ("bare", "trainer", "accelerate", "lightning")
ALIKE = 1e-3
"""Mean losses may differ by this share, or something else was trained."""


def main() -> None:
    parser = argparse.ArgumentParser(description="What training an arm costs here, and for others.")
    parser.add_argument("--steps", type=int, default=60, help="optimiser steps of each training")
    parser.add_argument("--episodes", type=int, default=60, help="demonstrations, collected once")
    parser.add_argument("--rounds", type=int, default=1, help="how often each is trained")
    parser.add_argument("--arms", nargs="+", default=list(FROZEN), choices=list(FROZEN))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        train(asked.child[0], Path(asked.child[1]))
        return
    peers = [way for way in PEERS if way != "lightning" or importlib.util.find_spec("lightning")]
    print(
        f"{asked.steps} steps of {asked.rounds} rounds; Lightning is {'' if 'lightning' in peers else 'not '}installed"
    )
    with tempfile.TemporaryDirectory() as folder:
        for arm, told in prepare(Path(folder), asked.arms, asked.steps, asked.episodes).items():
            ways = ["ours", *(["once"] if arm == "head-only" else []), *peers]
            taken = {way: list[float]() for way in ways}
            for round in range(asked.rounds):
                losses = dict[str, float]()
                for way in ways if round % 2 == 0 else ways[::-1]:
                    used, losses[way] = measured(way, told, Path(folder) / arm / str(round) / way)
                    taken[way].append(used)
                check(arm, losses)
            report(arm, taken)


def prepare(folder: Path, arms: Sequence[str], steps: int, episodes: int) -> dict[str, dict[str, Any]]:
    """Collects the demonstrations; by arm, what the children are told."""
    from ablations.runs import wanted
    from ablations.study_file import read_study
    from workbench.collect import collect
    from workbench.plan import Finetune
    from workbench.recipes import Expert
    from workbench.record import collected_folder

    study = read_study("modality", (f"budget.steps={steps}", f"data.episodes={episodes}"))
    told = dict[str, dict[str, Any]]()
    for run in wanted(study):
        if run.arm not in arms or run.arm in told:
            continue
        plan = run.plan
        assert isinstance(plan, Finetune) and isinstance(plan.data, Expert)
        data = collected_folder(folder, plan.data)
        if not data.exists():
            collect(plan.data, data)
        job = job_of(plan, FROZEN[run.arm], data)
        told[run.arm] = {"plan": plan.model_dump(mode="json"), "job": job, "root": str(folder)}
    return told


def job_of(plan: "Finetune", frozen: Sequence[str], data: Path) -> dict[str, Any]:
    """What a plain loop is told to train as the plan does, on the demonstrations in `data`; see `plain_policy.Job`."""
    from workbench.backbones.source import EMBEDDED

    budget = plan.budget
    return {
        "backbone": str(EMBEDDED), "data": str(data), "frozen": frozen, "steps": budget.steps,
        "batch": budget.batch, "chunk": budget.chunk, "learning_rate": budget.learning_rate,
        "warmup": budget.warmup_steps, "clip": budget.clip_norm, "seed": plan.seed,
    }  # fmt: skip


def measured(way: str, told: dict[str, Any], folder: Path) -> tuple[float, float]:
    """Processor time of a process that trains so in `folder`, and its mean loss."""
    folder.mkdir(parents=True)
    (folder / "told.json").write_text(json.dumps(told))
    process = subprocess.Popen([sys.executable, __file__, "--child", way, folder], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{way} broke")
    losses = json.loads((folder / "losses.json").read_text())
    assert len(losses) == told["job"]["steps"]
    return used.ru_utime + used.ru_stime, sum(losses) / len(losses)


def train(way: str, folder: Path) -> None:
    """In a process of its own; the losses are written beside what it was told."""
    told = json.loads((folder / "told.json").read_text())
    if way in PEERS:
        import plain_loops

        paths = {"backbone": Path(told["job"]["backbone"]), "data": Path(told["job"]["data"]), "output": folder}
        losses = plain_loops.PEERS[way](plain_loops.Job(**{**told["job"], **paths}))
    else:
        from workbench.plan import Finetune

        losses = ours(Finetune.model_validate(told["plan"]), Path(told["root"]), folder, once=way == "once")
    (folder / "losses.json").write_text(json.dumps(losses))


def ours(plan: "Finetune", root: Path, folder: Path, *, once: bool) -> list[float]:
    """What `workbench.execute` does of a run before it plays."""
    from workbench.build import build
    from workbench.collect import open_data
    from workbench.compute import place
    from workbench.recipes import actions_of
    from workbench.training.adapt import adapt
    from workbench.training.fit import Fit
    from workbench.training.imitate import ActionScale
    from workbench.training.lesson import demonstrations
    from workbench.weights import save_weights

    actions = actions_of(plan.data)
    policy, backbone = build(
        plan.spec, plan.seed, chunk=plan.budget.chunk, root=root, compute=plan.compute, actions=actions
    )
    dataset = open_data(root, plan.data)
    frames = dataset.frames(range(len(dataset.episodes)))
    scale = ActionScale(dataset.statistics["action"], binary_gripper=actions.binary_gripper)
    adapt(policy, plan.spec, seed=plan.seed)
    spot = place(plan.compute)
    spot.settle(policy)
    policy.language.prefix_once = once
    lesson = demonstrations(plan, policy, frames, scale=scale, backbone=backbone, spot=spot)
    losses = Fit(plan, policy, lesson, spot, folder).run(lambda done: None).losses
    save_weights(policy, folder)
    return losses


def check(arm: str, losses: dict[str, float]) -> None:
    for way, loss in losses.items():
        if abs(loss - losses["bare"]) > ALIKE * losses["bare"]:
            raise SystemExit(f"{arm}: {way} was trained to another loss, {loss:.6f}, than bare, {losses['bare']:.6f}")


def report(arm: str, taken: dict[str, list[float]]) -> None:
    """Ratios of each round, of which the median is printed: what ours takes, of what each other takes."""
    print(f"{arm}: ours {median(taken['ours']):.1f} s of processor time", flush=True)
    for way, seconds in taken.items():
        if way != "ours":
            ratio = median(mine / other for mine, other in zip(taken["ours"], seconds, strict=True))
            print(f"    {way:10} {median(seconds):6.1f} s   ours takes {ratio:.2f} of it", flush=True)


if __name__ == "__main__":
    main()
