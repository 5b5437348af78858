"""A training that is interrupted and taken up again ends with the same bits as one that was not."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from workbench.augmentation import Augmentation
from workbench.benchmarks.contract import Protocol
from workbench.collect import collect
from workbench.execute import execute
from workbench.plan import Budget, Finetune, Inject, Plan, run_id
from workbench.recipes import Expert
from workbench.record import Record, collected_folder, open_record, read_log
from workbench.spec import Frozen, LastBlocks, Lora, Slot, Spec
from workbench.training import fit
from workbench.training.checkpoint import Keeper

DATA = Expert(tasks=("reach",), episodes=4)
BUDGET = Budget(steps=8, batch=5, warmup_steps=1)
MIXED = Spec(
    vision=Slot(tune=LastBlocks(blocks=1)),
    projector=Slot(module="mlp", weights="random"),
    embeddings=Slot(tune=Frozen()),
    language=Slot(tune=Lora(rank=2, dropout=0.3)),
    head=Slot(module="flow-matching", weights="random"),
)
STILL = Slot(tune=Frozen())
ENCODER = Spec(
    projector=STILL, embeddings=STILL, language=STILL, head=Slot(module="chunk-mlp", weights="random", tune=Frozen())
)
INJECT = Inject(spec=ENCODER, data=DATA.model_copy(update={"split": "injection"}), budget=BUDGET)
PLANS: dict[str, Plan] = {
    "adapters that drop out, a head that draws": Finetune(
        spec=MIXED,
        data=DATA,
        budget=BUDGET,
        protocol=Protocol.model_validate({"tasks": ["reach"], "initial_states": 1}),
    ),
    "a teacher that follows": INJECT.model_copy(update={"objective": "self-distillation"}),
    "pictures that are changed, patches that are hidden": INJECT.model_copy(
        update={"objective": "masked-image", "augmentation": Augmentation(shift=4, brightness=0.2)}
    ),
    "nothing to learn": INJECT.model_copy(update={"objective": "sham"}),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root that holds the demonstrations and nothing else."""
    root = tmp_path_factory.mktemp("source")
    for plan in (PLANS["adapters that drop out, a head that draws"], INJECT):
        assert isinstance(plan, Finetune | Inject) and isinstance(plan.data, Expert)
        collect(plan.data, collected_folder(root, plan.data))
    return root


@pytest.fixture
def root(source: Path, tmp_path: Path) -> Path:
    return shutil.copytree(source, tmp_path / "runs")


@pytest.fixture(autouse=True)
def a_checkpoint_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "Keeper", partial(Keeper, share=1e9, first_seconds=0))


class Killed(Exception):
    pass


def until_killed(plan: Plan, root: Path, *, steps: int, stage: str = "training") -> Path:
    def report(now: str, done: int, total: int) -> None:
        if (now, done) == (stage, steps):
            raise Killed

    with pytest.raises(Killed):
        execute(plan, root, report)
    return root / run_id(plan)


def done(plan: Plan, root: Path) -> Record:
    execute(plan, root)
    return open_record(root, run_id(plan))


def bits(record: Record) -> dict[str, Any]:
    """What must be the same: weights, ledger, every logged figure but times, every episode but its seconds."""
    assert record.error is None
    log = [{k: v for k, v in row.items() if not k.endswith("_s")} for row in read_log(record.folder)]
    played = [] if record.plan.kind == "inject" else record.outcomes()
    episodes = [{k: v for k, v in asdict(outcome).items() if k != "seconds"} for outcome in played]
    result = record.result
    return {
        "weights": result["weights_sha256"],
        "final loss": result["final_loss"],
        "log": log,
        "ledger": record.ledger(),
        "episodes": episodes,
    }


@pytest.mark.parametrize("name", PLANS)
def test_a_training_that_was_killed_twice_ends_with_the_same_bits(root: Path, source: Path, tmp_path: Path, name: str):
    plan = PLANS[name]
    whole = done(plan, Path(shutil.copytree(source, tmp_path / "whole")))
    until_killed(plan, root, steps=3)
    until_killed(plan, root, steps=6)
    again = done(plan, root)
    assert again.result["resumed"] == [2, 5]  # told of a step before it is kept: killed in between
    assert whole.result["resumed"] == [] and bits(again) == bits(whole)


def test_a_run_that_was_killed_while_it_played_is_not_trained_again(root: Path, source: Path, tmp_path: Path):
    plan = PLANS["adapters that drop out, a head that draws"]
    whole = done(plan, Path(shutil.copytree(source, tmp_path / "whole")))
    until_killed(plan, root, steps=1, stage="playing")
    again = done(plan, root)
    assert again.result["resumed"] == [8] and bits(again) == bits(whole)


PLAN = PLANS["pictures that are changed, patches that are hidden"]


def test_what_is_resumed_is_not_trained_again(root: Path):
    until_killed(PLAN, root, steps=6)
    told: list[int] = []
    execute(PLAN, root, lambda stage, finished, total: told.append(finished) if stage == "training" else None)
    assert told == [6, 7, 8]


def test_a_finished_run_keeps_no_checkpoints(root: Path):
    assert not (done(PLAN, root).folder / "checkpoints").exists()


def test_a_torn_checkpoint_is_told_in_the_record_and_the_one_before_it_is_used(root: Path):
    newest = max((until_killed(PLAN, root, steps=6) / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-9])
    record = done(PLAN, root)
    assert record.result["resumed"] == [4]
    assert record.result["checkpoints_refused"] == [f"{newest.name}: torn or altered"]


def lost(log: Path) -> None:
    log.unlink()


def shortened(log: Path) -> None:
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:2]))


def altered(log: Path) -> None:
    log.write_text(log.read_text().replace("train/loss", "train/lose"))


@pytest.mark.parametrize("damage", [lost, shortened, altered])
def test_without_the_log_of_its_steps_a_checkpoint_is_refused(root: Path, damage: Callable[[Path], None]):
    damage(until_killed(PLAN, root, steps=6) / "log.jsonl")
    record = done(PLAN, root)
    refused = record.result["checkpoints_refused"]
    assert record.result["resumed"] == [] and all("log of its steps" in said for said in refused) and len(refused) == 2
    assert [row["train/step"] for row in read_log(record.folder)] == list(range(8))


def test_a_half_written_line_behind_the_kept_ones_is_dropped(root: Path):
    with (until_killed(PLAN, root, steps=6) / "log.jsonl").open("a") as log:
        log.write('{"train/step": 6, "tr')
    record = done(PLAN, root)
    assert record.result["resumed"] == [5]
    assert [row["train/step"] for row in read_log(record.folder)] == list(range(8))


def test_other_code_does_not_go_on_from_a_checkpoint(root: Path, monkeypatch: pytest.MonkeyPatch):
    until_killed(PLAN, root, steps=6)
    mine = fit.machine()
    monkeypatch.setattr(fit, "machine", lambda: mine | {"revision": "0123456789ab"})
    record = done(PLAN, root)
    assert record.result["resumed"] == [] and "other code" in record.result["checkpoints_refused"][0]


def test_other_weights_to_start_from_do_not_go_on_from_a_checkpoint(root: Path):
    folder = until_killed(PLAN, root, steps=6)
    keeper = Keeper(folder)
    found = keeper.latest(lambda found: "")
    assert found is not None
    before = {**found.facts["audit"]["before"], "vision": "0" * 16}
    for step in (found.step + 1, found.step + 2):  # only the last two are kept
        audit = {**found.facts["audit"], "before": before}
        keeper.keep(replace(found, step=step, facts={**found.facts, "audit": audit}))
    record = done(PLAN, root)
    assert record.result["resumed"] == [] and all(
        said.endswith("the weights that training starts from are others now")
        for said in record.result["checkpoints_refused"]
    )
