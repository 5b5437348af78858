"""A small study as it lies on disk after its runs: planted outcomes, invented losses, real films."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ablations.runs import Wanted, wanted
from ablations.study_file import read_study
from workbench.benchmarks.contract import Outcome, Protocol
from workbench.evaluate import Played
from workbench.film import FILMED, write_films
from workbench.plan import Evaluate, Finetune, Inject, Replay
from workbench.record import begin, write_episodes, write_json, write_result
from workbench.spec import SLOTS, Spec

SHARES = {
    "all-trained": 0.9,
    "freeze-vision": 0.2,
    "freeze-language": 0.85,
    "injected-frozen": 0.65,
    "blank-image": 0.05,
    "expert": 1.0,
    "swept": 0.5,
}
"""Planted success: vision is the bottleneck, and injection wins most of it back."""
STEPS = 130
EVIL = "</script><script>document.title = 'owned'</script>"
FILE = f"""
name = "planted"
question = '''Which part holds it back? {EVIL} & "quotes"'''
seeds = [0, 1, 2]
[data]
kind = "expert"
[budget]
steps = {STEPS}
[protocol]
tasks = ["reach", "lift"]
initial_states = 15
[injections.cloning]
data = {{ kind = "expert", split = "injection" }}
budget = {{ steps = {STEPS} }}
[[arms]]
name = "all-trained"
[[arms]]
name = "freeze-vision"
edits = [{{ edit = "tune", slot = "vision", tune = {{ kind = "frozen" }} }}]
[[arms]]
name = "freeze-language"
edits = [{{ edit = "tune", slot = "language", tune = {{ kind = "frozen" }} }}]
[[arms]]
name = "injected-frozen"
edits = [
    {{ edit = "replace", slot = "vision", weights = "injection:cloning" }},
    {{ edit = "tune", slot = "vision", tune = {{ kind = "frozen" }} }},
]
[[arms]]
name = "blank-image"
inputs = {{ image = "blank" }}
seeds = [0]
[[arms]]
name = "broken"
edits = [{{ edit = "tune", slot = "head", tune = {{ kind = "frozen" }} }}]
seeds = [0, 1]
[[arms]]
name = "expert"
reference = "expert"
[[arms]]
name = "swept"
edits = [
    {{ edit = "tune", slot = "vision", tune = {{ kind = "frozen" }} }},
    {{ edit = "tune", slot = "projector", tune = {{ kind = "frozen" }} }},
]
learning_rates = [0.001, 0.002]
seeds = [0]
[[contrasts]]
name = "freeze cost <b>of vision</b>"
a = "all-trained"
b = "freeze-vision"
[[contrasts]]
name = "injection gain"
a = "injected-frozen"
b = "freeze-vision"
[[contrasts]]
name = "freeze cost of language"
a = "all-trained"
b = "freeze-language"
"""


def record_study(folder: Path, text: str = FILE) -> tuple[str, Path]:
    """The study's file, and a root with all its runs but one, which is missing; another one failed."""
    file, root = folder / "planted.toml", folder / "runs"
    file.write_text(text)
    runs = wanted(read_study(str(file)))
    specs = {run.id: run.plan.spec for run in runs if isinstance(run.plan, Finetune | Inject)}
    for run in runs:
        if (run.arm, run.seed) != ("broken", 1):
            _record(run, root, specs)
    return str(file), root


def _record(run: Wanted, root: Path, specs: Mapping[str, Spec]) -> None:
    folder = begin(root, run.plan)
    result: dict[str, Any] = {"machine": {"python": "3.11", "packages": {"torch": "2.11"}}, "data_digest": "d" * 64}
    if run.arm == "broken":
        write_result(folder, result | {"error": "loss is NaN <i>at step 3</i>"})
        return
    if isinstance(run.plan, Finetune | Inject):
        result |= _train(run, folder)
    if not isinstance(run.plan, Inject):
        result |= _play(run, folder, run.plan.protocol)
    if not isinstance(run.plan, Replay):
        write_json(folder / "ledger.json", _ledger(specs[run.plan.of if isinstance(run.plan, Evaluate) else run.id]))
    write_result(folder, result)


def _train(run: Wanted, folder: Path) -> dict[str, Any]:
    losses = (0.4 * math.exp(-step / 40) + 0.1 + 0.01 * run.seed for step in range(STEPS))
    rows = (f'{{"train/step": {step}, "train/loss": {loss}}}\n' for step, loss in enumerate(losses))
    (folder / "log.jsonl").write_text("".join(rows))
    return {"training_seconds": 41.5, "device": "cpu", "dtype": "float32", "final_loss": 0.1}


def _play(run: Wanted, folder: Path, protocol: Protocol) -> dict[str, Any]:
    """Episodes of planted success, the first of them filmed."""
    generator = np.random.default_rng([run.seed, *run.arm.encode()])
    played = [_episode(protocol, index, generator.random() < SHARES[run.arm]) for index in range(30)]
    write_films(played[:FILMED], protocol, folder / "films")
    hashed = write_episodes(folder, [one.outcome for one in played])
    won = sum(one.outcome.success for one in played) / 30
    return {"episodes": 30, "episodes_sha256": hashed, "manifest": protocol.manifest_digest(), "success": won}


def _episode(protocol: Protocol, index: int, success: bool) -> Played:
    """`index` counts the manifest; three steps in which the arm rests."""
    start = protocol.manifest()[index]
    outcome = Outcome(
        task=start.task,
        initial_state=start.initial_state,
        seed=start.seed,
        instruction="reach the <u>red</u> block",
        success=success,
        steps=3,
        progress=1.0 if success else 0.5,
        seconds=0.1,
    )
    return Played(start, outcome, np.zeros((3, 7)))


def _ledger(spec: Spec) -> dict[str, Any]:
    rows = [_row(spec, slot) for slot in SLOTS]
    return {"rows": rows, "new_parameters": 10, "total_parameters": 50, "encoder_tokens": 16, "image_tokens": 16}


def _row(spec: Spec, slot: Any) -> dict[str, Any]:
    asked = spec.slot(slot)
    moved = asked.tune.kind == "full"
    return {
        "slot": slot,
        "module": asked.module,
        "weights": asked.weights,
        "tune": asked.tune.kind,
        "parameters": 10,
        "trainable": 10 if moved else 0,
        "tensors": 2,
        "gradient": 2,
        "before": "aaaa000011112222",
        "after": "bbbb000011112222" if moved else "aaaa000011112222",
        "moved": asked.tune.kind,
    }
