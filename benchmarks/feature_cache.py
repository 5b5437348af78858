"""What keeping a frozen encoder's features saves: run by hand, prints ratios, is no test.

    python benchmarks/feature_cache.py --encoder dinov2-small#56px --steps 200

The same policy (vision frozen, everything else trained) is trained three times on the same demonstrations: without
features, with features that are computed as they are wanted, and with the features that the second one left. Processor
time of the training's steps alone; losses are checked to be the same bits.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

from workbench.benchmarks.contract import Protocol
from workbench.collect import collect
from workbench.execute import execute
from workbench.plan import Budget, Finetune, run_id
from workbench.recipes import Expert
from workbench.record import NO_CACHE, collected_folder, open_record
from workbench.spec import Frozen, Slot, Spec

NATIVE = "native"


def main() -> None:
    parser = argparse.ArgumentParser(description="What keeping a frozen encoder's features saves.")
    parser.add_argument("--encoder", default=NATIVE, help="what stands in the vision slot, frozen")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--episodes", type=int, default=100)
    asked = parser.parse_args()
    foreign = asked.encoder != NATIVE
    vision = Slot(module=asked.encoder, weights="random" if foreign else "pretrained", tune=Frozen())
    projector = Slot(module="linear", weights="random") if foreign else Slot()
    data = Expert.model_validate({"tasks": ["reach"], "episodes": asked.episodes})
    plan = Finetune(
        spec=Spec(vision=vision, projector=projector),
        data=data,
        budget=Budget(steps=asked.steps, batch=asked.batch),
        protocol=Protocol.model_validate({"tasks": ["reach"], "initial_states": 1}),
    )
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        collect(data, collected_folder(root, data))
        os.environ[NO_CACHE] = "1"
        without, losses = trained(plan, root)
        del os.environ[NO_CACHE]
        print(f"without features   {without:6.1f} s of processor time")
        for what in ("features computed", "features there  "):
            spent, again = trained(plan, root)
            same = "the same bits" if again == losses else "OTHER LOSSES"
            counts = open_record(root, run_id(plan)).result.get("features", "none kept")
            print(f"{what}  {spent:6.1f} s, {spent / without:.2f} of it; {same}; {counts}")


def trained(plan: Finetune, root: Path) -> tuple[float, list[float]]:
    """Processor seconds from the first step to the last, and all losses."""
    marks = list[float]()

    def report(stage: str, done: int, total: int) -> None:
        if stage == "training":
            marks.append(time.process_time())

    execute(plan, root, report)
    record = open_record(root, run_id(plan))
    return marks[-1] - marks[0], [row["train/loss"] for row in record.log()]


if __name__ == "__main__":
    main()
