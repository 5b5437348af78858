"""A trained policy as a folder that stands alone: to be kept, shared and played without its run or its backbone.

`config.json` (the spec and how it was made), `model.safetensors`, `statistics.json` (of the actions),
`state_statistics.json` (of the robot's state, where the policy is given it), `ledger.json`, `backbone/` (configuration,
tokenizer and processor of the VLM, no weights) and `README.md`, a model card.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from workbench.backbones.source import WANTED, complete
from workbench.benchmarks.contract import Protocol
from workbench.data.statistics import Statistics
from workbench.errors import UserError
from workbench.evaluate import Player
from workbench.plan import Compute, Finetune, Inject, Inputs
from workbench.player import revive, training_plan
from workbench.recipes import actions_of
from workbench.record import Record, file_hash, moved_bits, write_json
from workbench.spec import Spec, Value, digest
from workbench.training.imitate import ActionScale
from workbench.weights import checked_weights, read_tensors

MODEL = "model.safetensors"
STATISTICS, STATE_STATISTICS = "statistics.json", "state_statistics.json"
Level = Annotated[int, Field(ge=0, le=255)]


class PolicyConfig(Value):
    """`config.json` of a policy folder."""

    format: int = Field(default=1, ge=1, le=1)
    run: str
    spec: Spec
    chunk: int = Field(ge=1)
    compute: Compute
    mean_colour: tuple[Level, Level, Level]
    protocol: Protocol | None
    """What it was played on, where it was."""
    binary_gripper: bool = True


def save_policy(record: Record, folder: Path) -> None:
    """Write the policy of a finished run into a new `folder`; an interrupted call leaves nothing.

    Raises UserError where the folder exists, or the run has no weights.
    """
    plan = training_plan(record)
    if isinstance(plan, Finetune) and plan.inputs != Inputs():
        raise UserError(f"The run {record.id} was trained without some of its inputs: a control, no policy.")
    with new_folder(folder) as aside:
        shutil.copyfile(checked_weights(record.folder), aside / MODEL)
        _write(record, plan, aside)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder` that gets its name where the block ends well, and is gone where it does not.

    Raises UserError where `folder` exists.
    """
    if folder.exists():
        raise UserError(f"{folder} exists already: choose another folder, or delete it first.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield aside
        aside.chmod(0o755)
        os.replace(aside, folder)
    except BaseException:
        shutil.rmtree(aside)
        raise


def read_config(folder: Path) -> PolicyConfig:
    """What a folder that `save_policy` wrote says of its policy; no weights are read. Raises UserError for another."""
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is no policy folder: it has no config.json. `workbench save RUN FOLDER` writes one.")
    try:
        return PolicyConfig.model_validate(_read(folder / "config.json"))
    except ValidationError as error:
        raise UserError(f"{folder / 'config.json'} does not describe a policy: {error.errors()[0]['msg']}.") from error


def policy_digest(folder: Path) -> str:
    """Digest of all files of a policy folder that decide how it plays. Raises UserError where it has no weights."""
    if not (folder / MODEL).is_file():
        raise UserError(f"{folder / MODEL} is missing. Copy or save the policy again.")
    named = ("config.json", MODEL, STATISTICS, STATE_STATISTICS)
    files = [*(folder / name for name in named), *(folder / "backbone").rglob("*")]
    return digest({str(path.relative_to(folder)): file_hash(path) for path in files if path.is_file()})


def load_policy(folder: Path, *, device: str = "auto") -> tuple[Player, PolicyConfig]:
    """The policy in a folder that `save_policy` wrote, ready to act on this machine's `device`.

    Raises UserError, naming the file, where something is missing, truncated or not what it should be.
    """
    config = read_config(folder)
    player = revive(
        config.spec.model_copy(update={"backbone": f"{folder.resolve() / 'backbone'}"}),
        read_tensors(folder / MODEL),
        chunk=config.chunk,
        compute=config.compute.model_copy(update={"device": device}),
        scale=ActionScale(
            Statistics.from_json(_read(folder / STATISTICS), "action"), binary_gripper=config.binary_gripper
        ),
        mean_colour=list(config.mean_colour),
        state=_read(folder / STATE_STATISTICS) if config.spec.proprioception else None,
    )
    return player, config


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is missing, truncated or not JSON ({error}). Copy or save the policy again."
        ) from error


def _write(record: Record, plan: Finetune | Inject, folder: Path) -> None:
    red, green, blue = record.result["mean_colour"]
    config = PolicyConfig(
        run=record.id,
        spec=plan.spec,
        chunk=plan.budget.chunk,
        compute=plan.compute,
        mean_colour=(red, green, blue),
        protocol=plan.protocol if isinstance(plan, Finetune) else None,
        binary_gripper=actions_of(plan.data).binary_gripper,
    )
    write_json(folder / "config.json", config.model_dump(mode="json"))
    write_json(folder / STATISTICS, record.result["action_statistics"])
    if plan.spec.proprioception:
        write_json(folder / STATE_STATISTICS, record.result["state_statistics"])
    write_json(folder / "ledger.json", record.ledger())
    source = complete(plan.spec.backbone, weights=False)
    (folder / "backbone").mkdir()
    for pattern in WANTED:
        for path in source.glob(pattern):
            if path.suffix != ".safetensors":
                shutil.copyfile(path, folder / "backbone" / path.name)
    (folder / "README.md").write_text(model_card(record, plan))


def model_card(record: Record, plan: Finetune | Inject) -> str:
    """What the policy is, what was trained of it, and how well it plays: Markdown with the hub's front matter."""
    lines = ["---", "library_name: vla-workbench", "pipeline_tag: robotics", "---", "", f"# Policy {record.id}", ""]
    lines += [f"From the backbone `{plan.spec.backbone}`, seed {plan.seed}, {plan.budget.steps:,} steps of "]
    lines[-1] += f"{plan.budget.batch}; the decoder reads {record.result['prompt']!r}."
    if isinstance(plan, Finetune):
        share = f"{100 * record.result['success']:.1f} % of {record.result['episodes']} episodes"
        lines += ["", f"Success on `{plan.protocol.benchmark}` ({', '.join(plan.protocol.tasks)}): {share}."]
    lines += ["", *ledger_lines(record.ledger())]
    return "\n".join([*lines, "", "Play it: `workbench evaluate FOLDER`.", ""])


def ledger_lines(ledger: dict[str, Any]) -> list[str]:
    """What was trained of each slot, as a table in Markdown."""
    lines = ["| slot | module | weights | tune | parameters | trained | bits |", "|---|---|---|---|--:|--:|---|"]
    for row in ledger["rows"]:
        cells = (row["slot"], row["module"], row["weights"], row["tune"])
        lines.append(f"| {' | '.join(cells)} | {row['parameters']:,} | {row['trainable']:,} | {moved_bits(row)} |")
    return lines
