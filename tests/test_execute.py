"""One run, whole: the same plan gives the same bits twice, and what is recorded is what happened."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from demonstrations import episodes, write
from safetensors.torch import load_file

from ablations.estimate import efforts
from ablations.runs import wanted
from workbench.backbones.registry import EMBEDDED
from workbench.benchmarks.contract import Protocol
from workbench.build import build
from workbench.collect import collect
from workbench.errors import UserError
from workbench.evaluate import Player
from workbench.execute import execute
from workbench.plan import Budget, Evaluate, Finetune, Inject, Inputs, Plan, Replay, run_id
from workbench.player import player_of
from workbench.recipes import Expert, Folder
from workbench.record import Record, collected_folder, file_hash, open_record, read_log
from workbench.spec import SLOTS, Frozen, LastBlocks, Lora, Slot, Spec
from workbench.training.imitate import Demonstrations
from workbench.training.ledger import tensor_hash
from workbench.weights import WEIGHTS

DATA = Expert(tasks=("reach",), episodes=4)
INJECTED = DATA.model_copy(update={"split": "injection"})
BUDGET = Budget(steps=5, batch=4, warmup_steps=1)
PROTOCOL = Protocol(tasks=("reach",), initial_states=3)
MIXED = Spec(
    vision=Slot(tune=LastBlocks(blocks=1)),
    projector=Slot(module="mlp", weights="random"),
    embeddings=Slot(tune=Frozen()),
    language=Slot(tune=Lora(rank=2)),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root that holds the demonstrations and nothing else."""
    root = tmp_path_factory.mktemp("source")
    for data in (DATA, INJECTED):
        collect(data, collected_folder(root, data))
    return root


@pytest.fixture
def root(source: Path, tmp_path: Path) -> Path:
    return shutil.copytree(source, tmp_path / "runs")


def finetune(spec: Spec = MIXED, **changes: Any) -> Finetune:
    return Finetune(spec=spec, data=DATA, budget=BUDGET, protocol=PROTOCOL).model_copy(update=changes)


def done(plan: Plan, root: Path) -> Record:
    execute(plan, root)
    return open_record(root, run_id(plan))


RUN_ITSELF = ("process_peak_mib", "episodes_sha256", "provenance", "sealed", "seal", "samples_per_second", "mfu")
"""What differs between two runs of the same plan: memory, times, and the hashes of files that hold seconds."""


def timeless(record: Record) -> dict[str, Any]:
    """All that a record says but the wall-clock and the memory of the process that it ran in."""
    log = [{k: v for k, v in row.items() if not k.endswith("_s")} for row in read_log(record.folder)]
    outcomes = [{k: v for k, v in asdict(outcome).items() if k != "seconds"} for outcome in record.outcomes()]
    result = {k: v for k, v in record.result.items() if "seconds" not in k and k not in RUN_ITSELF}
    return {"log": log, "outcomes": outcomes, "result": result, "ledger": record.ledger()}


def test_the_same_plan_gives_the_same_bits_twice(source, tmp_path):
    """With everything that draws: new adapters, a new projector and head, shuffling, and dropout while training."""
    folder = shutil.copytree(EMBEDDED, tmp_path / "vlm")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["attention_dropout"] = config["vision_config"]["attention_dropout"] = 0.3
    (folder / "config.json").write_text(json.dumps(config))
    plan = finetune(MIXED.model_copy(update={"backbone": str(folder)}))
    records = []
    for place in ("first", "second"):
        root = shutil.copytree(source, tmp_path / place)
        torch.manual_seed(len(records))  # what a worker did before must not matter
        np.random.seed(len(records))
        records.append(done(plan, root))
    first, second = records
    assert first.error is None and timeless(first) == timeless(second)
    assert file_hash(first.folder / WEIGHTS) == file_hash(second.folder / WEIGHTS) == first.result["weights_sha256"]
    assert len(timeless(first)["outcomes"]) == 3 and len(timeless(first)["log"]) == 5


@pytest.fixture(scope="module")
def record(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A finished run that tests read and play again, but do not change."""
    return done(finetune(), shutil.copytree(source, tmp_path_factory.mktemp("finished") / "runs"))


def test_another_seed_gives_other_weights(record, root):
    first, second = record, done(finetune(seed=1), root)
    assert first.result["weights_sha256"] != second.result["weights_sha256"]


def test_training_leaves_the_global_generator_alone(root):
    torch.manual_seed(8)
    state = torch.random.get_rng_state()
    execute(Inject(spec=MIXED, data=INJECTED, budget=BUDGET), root)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_weights_reload_bit_for_bit_and_play_the_same_episodes(record):
    root = record.folder.parent
    player = player_of(record)
    stored, found = load_file(record.folder / WEIGHTS), player.policy.state_dict()
    assert stored.keys() == found.keys() and all(torch.equal(stored[name], found[name]) for name in stored)
    again = done(Evaluate(of=record.id, protocol=PROTOCOL, inputs=Inputs()), root)
    for one, other in zip(record.outcomes(), again.outcomes(), strict=True):
        assert asdict(one) | {"seconds": 0} == asdict(other) | {"seconds": 0}
    assert again.ledger() == record.ledger()
    assert again.result["manifest"] == record.result["manifest"] == PROTOCOL.manifest_digest()


def test_the_ledgers_hashes_are_those_of_the_stored_tensors(record):
    policy = player_of(record).policy
    for row in record.ledger()["rows"]:
        slot = policy.get_submodule(row["slot"])
        assert tensor_hash([*slot.named_parameters(), *slot.named_buffers()]) == row["after"]
        assert (row["before"] == row["after"]) == (row["slot"] == "embeddings")


def test_a_recorded_run_is_complete(small_run):
    """The files and keys that tables, plots and other tools read."""
    record = small_run.record
    names = {path.name for path in record.folder.iterdir()}
    assert {"plan.json", "result.json", "ledger.json", "log.jsonl", "episodes.jsonl", WEIGHTS, "films"} <= names
    log = list(read_log(record.folder))
    assert [row["train/step"] for row in log] == list(range(small_run.plan.budget.steps))
    assert {"train/loss", "train/grad_norm", "train/lr", "train/update_s", "train/arm", "train/gripper"} <= set(log[0])
    assert record.result["final_loss"] == pytest.approx(np.mean([row["train/loss"] for row in log][-20:]))
    assert record.result["samples"] == small_run.plan.budget.steps * small_run.plan.budget.batch
    outcomes = record.outcomes()
    assert record.result["success"] == np.mean([o.success for o in outcomes])
    assert [(o.task, o.initial_state, o.seed) for o in outcomes] == [
        (s.task, s.initial_state, s.seed) for s in small_run.plan.protocol.manifest()
    ]
    assert [row["slot"] for row in record.ledger()["rows"]] == list(SLOTS)
    assert record.result["machine"]["threads"] == 1 and "torch" in record.result["machine"]["packages"]
    films = sorted(path.name for path in (record.folder / "films").iterdir())
    assert [film[:9] for film in films] == ["reach-000", "reach-001"]
    assert all((record.folder / "films" / film).stat().st_size > 500 for film in films)


def test_training_on_the_demonstrations_lowers_the_loss(root):
    plan = Inject(spec=Spec(), data=DATA, budget=Budget(steps=30, batch=16, warmup_steps=2))
    losses = [row["train/loss"] for row in read_log(done(plan, root).folder)]
    assert np.mean(losses[-5:]) < 0.8 * losses[0]


def test_an_injected_encoder_is_taken_over_as_it_was_trained_and_stays_so_when_frozen(root):
    injection = done(Inject(spec=Spec(), data=INJECTED, budget=BUDGET), root)
    assert injection.result["episodes"] == 0 and not (injection.folder / "films").exists()
    after = {row["slot"]: row["after"] for row in injection.ledger()["rows"]}
    spec = Spec(vision=Slot(weights=f"run:{injection.id}", tune=Frozen()))
    rows = {row["slot"]: row for row in done(finetune(spec), root).ledger()["rows"]}
    assert rows["vision"]["before"] == rows["vision"]["after"] == after["vision"]
    assert rows["vision"]["trainable"] == 0 and rows["vision"]["weights"] == f"run:{injection.id}"
    assert rows["language"]["before"] != after["language"]  # only the encoder was taken over


def test_blank_inputs_are_played_with_the_same_policy_on_the_same_manifest(record):
    blind = done(Evaluate(of=record.id, protocol=PROTOCOL, inputs=Inputs(image="blank")), record.folder.parent)
    assert blind.result["manifest"] == record.result["manifest"] and blind.result["episodes"] == 3
    assert blind.ledger() == record.ledger() and not (blind.folder / WEIGHTS).exists()


def test_a_run_that_meets_nan_is_recorded_as_failed_and_saves_no_weights(root):
    plan = finetune(Spec(), budget=BUDGET.model_copy(update={"learning_rate": 1e30, "warmup_steps": 0}))
    record = done(plan, root)
    assert record.error is not None and record.error.startswith("NotFinite: ")
    assert "is not finite at step" in record.error and "'arm':" in record.error and "frames=(" in record.error
    assert record.result["episodes"] == 0 and "success" not in record.result
    assert not (record.folder / WEIGHTS).exists() and not (record.folder / "episodes.jsonl").exists()
    played = done(Evaluate(of=record.id, protocol=PROTOCOL, inputs=Inputs()), root)
    assert played.error is not None and record.id in played.error


@pytest.mark.parametrize("stage", ["training", "playing"])
def test_an_interrupted_run_is_unfinished_and_starting_again_gives_the_same_result(root, record, stage):
    class Stopped(Exception):
        pass

    def report(now: str, finished: int, total: int) -> None:
        if now == stage and finished == 2:
            raise Stopped

    plan = finetune()
    with pytest.raises(Stopped):
        execute(plan, root, report)
    assert not (root / run_id(plan) / "result.json").exists()
    assert timeless(done(plan, root)) == timeless(record)


def test_progress_is_reported_to_the_last_step_and_episode(root):
    told: list[tuple[str, int, int]] = []
    execute(finetune(), root, lambda *now: told.append(now))
    assert told == [("training", i, 5) for i in range(1, 6)] + [
        *(("playing", i, 3) for i in range(1, 4)),
        ("recording", 1, 1),
    ]


def test_demonstrations_with_another_kind_of_action_are_refused(root, tmp_path):
    folder = write(tmp_path / "other", episodes())
    with pytest.raises(UserError, match="has 3 numbers; the plan was made for 7 numbers with a binary gripper"):
        execute(finetune(data=Folder(path=str(folder))), root)


def test_demonstrations_that_were_not_collected_yet_are_said_to_be_missing(tmp_path):
    with pytest.raises(UserError, match="workbench collect"):
        execute(finetune(), tmp_path)


def test_what_an_evaluation_blanks_is_blank_when_it_plays(record, monkeypatch):
    given: list[tuple[set[str], np.ndarray]] = []
    act = Player.act

    def watched(self, pixels, instructions, **more):
        given.append((set(instructions), pixels))
        return act(self, pixels, instructions, **more)

    monkeypatch.setattr(Player, "act", watched)
    blank = Inputs(image="blank", instruction="blank")
    done(Evaluate(of=record.id, protocol=PROTOCOL, inputs=blank), record.folder.parent)
    assert given and all(told == {""} and (shown == record.result["mean_colour"]).all() for told, shown in given)


def test_a_policy_trained_without_its_instruction_is_told_nothing_when_it_plays(root, monkeypatch):
    told: set[str] = set()
    act = Player.act

    def watched(self, pixels, instructions, **more):
        told.update(instructions)
        return act(self, pixels, instructions, **more)

    monkeypatch.setattr(Player, "act", watched)
    given = done(finetune(seed=0), root)
    assert len(told) > 1
    told.clear()
    without = done(finetune(seed=0, inputs=Inputs(instruction="blank")), root)
    assert told == {""} and without.result["weights_sha256"] != given.result["weights_sha256"]


def test_a_slots_learning_rate_is_its_own(root):
    """After the first step a weight has moved by the learning rate, whatever its gradient: that is AdamW."""
    once = BUDGET.model_copy(update={"steps": 1, "warmup_steps": 0, "schedule": "constant"})
    moved = {}
    for rate in (1.0, 0.1):
        record = done(finetune(Spec(language=Slot(rate=rate)), budget=once), root)
        before = build(Spec(), 0, chunk=BUDGET.chunk, root=root)[0].state_dict()
        after = load_file(record.folder / WEIGHTS)
        moved[rate] = {
            slot: max(float((after[k] - v).abs().max()) for k, v in before.items() if k.startswith(f"{slot}."))
            for slot in ("vision", "language")
        }
    assert moved[0.1]["vision"] == pytest.approx(moved[1.0]["vision"], rel=0.01)
    assert moved[0.1]["language"] == pytest.approx(0.1 * moved[1.0]["language"], rel=0.05)


def test_the_experts_run_has_outcomes_films_and_no_weights(root):
    record = done(Replay(protocol=PROTOCOL), root)
    assert record.result["success"] == 1.0 and len(record.outcomes()) == len(PROTOCOL.manifest())
    assert list((record.folder / "films").glob("*-success.mp4")) and not (record.folder / WEIGHTS).exists()


def test_demonstrations_are_shuffled_by_the_seed_of_the_run(root, monkeypatch):
    seeds: list[int] = []
    batches = Demonstrations.batches

    def watched(self, size, *, seed, **more):
        seeds.append(seed)
        return batches(self, size, seed=seed, **more)

    monkeypatch.setattr(Demonstrations, "batches", watched)
    done(finetune(seed=5), root)
    assert set(seeds) == {5}


def test_a_run_records_what_it_had_to_compute_and_what_it_computed(small_run):
    result, plan = small_run.record.result, small_run.plan
    [effort] = efforts([run for run in wanted(small_run.study) if run.plan == plan])
    assert effort is not None
    work = effort.work
    assert (result["required_flops"], result["executed_flops"]) == (work.required, work.executed)
    assert result["waste"] == pytest.approx(work.waste, abs=1e-4) and 0 < result["mfu"] < 1.5
    spent = result["training_seconds_of"]
    assert set(spent) == {"data", "forward", "backward", "optimiser"} and min(spent.values()) > 0
    assert sum(spent.values()) == pytest.approx(result["training_seconds"], abs=0.01)
    assert result["samples_per_second"] == pytest.approx(result["samples"] / result["training_seconds"], rel=0.01)
