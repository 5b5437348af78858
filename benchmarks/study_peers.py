"""What training a whole study costs here, and arm by arm in a plain PyTorch loop: run by hand, prints ratios, no test.

    python benchmarks/study_peers.py --steps 720

All arms of `modality` with one seed are trained, and not played, on the same demonstrations:

- ours: one after the other in one process, as a worker of `workbench run` carries them out, with features on disk,
  ledger, log, checkpoints and weights;
- bare: `plain_loops.bare`, a process for each, as one runs a training script. To a plain loop it is all the same with
  which weights an arm begins, so arms that freeze the same parts are measured once and counted as often as there are.

Both take turns, so that a busy machine hits both alike. Compared is processor time, imports and loading included.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

from training_peers import job_of, measured

from ablations.runs import wanted
from ablations.study_file import read_study
from workbench.collect import collect
from workbench.plan import Finetune
from workbench.recipes import Expert
from workbench.record import collected_folder
from workbench.spec import SLOTS, Frozen

PARTS = {
    "vision": ("vision_tower",),
    "projector": ("multi_modal_projector",),
    "embeddings": ("language_model.embed_tokens",),
    "language": ("language_model.layers", "language_model.norm"),
}
"""By slot, the parts of transformers' model."""


def main() -> None:
    parser = argparse.ArgumentParser(description="What training a whole study costs here, and in a plain loop.")
    parser.add_argument("--steps", type=int, default=720, help="optimiser steps of each training")
    parser.add_argument("--seeds", type=int, default=1, help="training seeds of each arm")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work(asked.worker)
        return
    changes = (f"budget.steps={asked.steps}", f"seeds={list(range(asked.seeds))}")
    runs = [run for run in wanted(read_study("modality", changes)) if isinstance(run.plan, Finetune)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = runs[0].plan
        assert isinstance(plan, Finetune) and isinstance(plan.data, Expert)
        data = collected_folder(folder, plan.data)
        collect(plan.data, data)
        compare(folder, data, [run.plan for run in runs if isinstance(run.plan, Finetune)])


def compare(folder: Path, data: Path, plans: list[Finetune]) -> None:
    worker = subprocess.Popen(
        [sys.executable, __file__, "--worker", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdin and worker.stdout
    ours, bare, known = 0.0, 0.0, dict[str, float]()
    for number, plan in enumerate(plans, start=1):
        before = ours
        print(plan.model_dump_json(), file=worker.stdin, flush=True)
        ours = float(worker.stdout.readline())
        frozen = [slot for slot in SLOTS if slot in PARTS and isinstance(plan.spec.slot(slot).tune, Frozen)]
        key = " ".join(frozen) or "nothing"
        if key not in known:
            parts = [part for slot in frozen for part in PARTS[slot]]
            known[key], _ = measured("bare", {"job": job_of(plan, parts, data)}, folder / "bare" / key)
        bare += known[key]
        print(f"{number:3} frozen: {key:40} ours {ours - before:6.1f} s  bare {known[key]:6.1f} s", flush=True)
    worker.stdin.close()
    worker.wait()
    print(f"{len(plans)} runs: ours {ours:.0f} s, bare {bare:.0f} s; ours takes {ours / bare:.2f} of it")


def work(root: Path) -> None:
    """Trains each plan that comes in, as `workbench.execute` does before it plays; says its own processor time."""
    from workbench.plan import run_id
    from workbench.training.effort import first_step, pace
    from workbench.training.fit import Fit
    from workbench.training.ready import ready
    from workbench.weights import save_weights

    for line in sys.stdin:
        plan = Finetune.model_validate_json(line)
        folder = root / run_id(plan)
        folder.mkdir()
        start = ready(plan, root)
        step = first_step(plan, start)
        fitted = Fit(plan, start.policy, start.lesson, start.spot, folder).run(lambda done: None)
        pace(step, start, samples=plan.budget.steps * plan.budget.batch, seconds=fitted.seconds.total)
        save_weights(start.policy, folder)
        print(time.process_time(), flush=True)


if __name__ == "__main__":
    main()
