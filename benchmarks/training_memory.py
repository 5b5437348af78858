"""How near the memory that `plan` foretells is to what training takes: run by hand, prints a table, is no test.

    python benchmarks/training_memory.py --study modality

For one run of each arm: what `workbench plan --flops` says, what the run records, and what torch's allocator hands out
in three real steps of it on the CPU, weights included. Arms that differ in their weights only are shown once.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["KINETO_LOG_LEVEL"] = "6"
sys.path.append(str(Path(__file__).parent.parent / "tests"))

from allocated import most_allocated  # pyright: ignore[reportMissingImports]

from ablations.estimate import Effort, efforts
from ablations.runs import Wanted, wanted
from ablations.study_file import read_study
from workbench.collect import collect
from workbench.plan import Finetune
from workbench.recipes import Expert
from workbench.record import begin, collected_folder
from workbench.training.effort import first_step, memory
from workbench.training.fit import Fit
from workbench.training.memory import weights_of
from workbench.training.ready import ready

STEPS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description="Foretold, recorded and allocated memory of training.")
    parser.add_argument("--study", default="modality")
    parser.add_argument("--set", action="append", default=[], dest="changes", help="as workbench plan takes it")
    parser.add_argument("--episodes", type=int, default=10)
    asked = parser.parse_args()
    study = read_study(asked.study, asked.changes, planning=True)
    runs = [run for run in wanted(study) if run.seed == study.seeds[0]]
    shown = set[Effort | None]()
    print(f"{'arm':24}{'foretold':>10}{'recorded':>10}{'allocated':>10}  MB   foretold / allocated", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for run, effort in zip(runs, efforts(runs), strict=True):
            if effort not in shown and effort and effort.memory:
                foretold = effort.memory.peak
                recorded, allocated = _measured(run, Path(name), asked.episodes)
                figures = "".join(f"{value / 1e6:10.2f}" for value in (foretold, recorded, allocated))
                print(f"{run.arm:24}{figures}  {foretold / allocated:10.3f}", flush=True)
            shown.add(effort)


def _measured(run: Wanted, root: Path, episodes: int) -> tuple[int, int]:
    """The peak that a run records, and the allocator's."""
    assert isinstance(run.plan, Finetune) and isinstance(run.plan.data, Expert)
    data = run.plan.data.model_copy(update={"episodes": episodes})
    budget = run.plan.budget.model_copy(update={"steps": STEPS})
    plan = run.plan.model_copy(update={"data": data, "budget": budget})
    if not collected_folder(root, data).exists():
        collect(data, collected_folder(root, data))
    start = ready(plan, root)
    step = first_step(plan, start)
    fit = Fit(plan, start.policy, start.lesson, start.spot, begin(root, plan))
    allocated = weights_of(start.lesson.model) + most_allocated(lambda: fit.run(lambda done: None))
    return memory(start, step, fit.training.state())["training_peak_bytes"], allocated


if __name__ == "__main__":
    main()
