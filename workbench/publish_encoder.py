"""A trained vision encoder as a folder that other libraries load without the workbench, with a model card."""

from dataclasses import dataclass
from pathlib import Path

from encoders.artefact import Form, own_form, study_name, write_artefact
from encoders.contract import Card, Encoder
from encoders.hub import FILE
from encoders.loading import loading
from workbench.errors import UserError, encoder_errors
from workbench.objectives.facts import facts
from workbench.plan import Finetune, Inject, Inputs
from workbench.player import trained_encoder, training_plan
from workbench.publish import ledger_lines, new_folder
from workbench.recipes import Data, Folder
from workbench.record import Record, read_json
from workbench.spec import Value

RETENTION = "retention.json"
"""What the encoder has kept of what it knew: a name → a number, in the run's folder where it was measured."""

LIBRARIES: dict[Form, str] = {"timm": "timm", "hf": "transformers", "open-clip": "open_clip", "folder": "vla-workbench"}


@dataclass(frozen=True)
class Written:
    """`module` is what a study's vision slot says to start from the folder; None where only `run:<id>` can."""

    encoder: str
    source: str
    to: Form
    module: str | None
    files: tuple[str, ...]


def save_encoder(record: Record, folder: Path, root: Path, *, to: Form | None = None) -> Written:
    """Write the vision encoder of a finished run into a new `folder`; an interrupted call leaves nothing.

    `to` None: what the encoder's own library reads. Raises UserError where the folder exists, the run has no weights,
    or the encoder is not of the library that is asked for.
    """
    plan = training_plan(record)
    with new_folder(folder) as aside, encoder_errors():
        encoder = trained_encoder(record, root).eval()
        form = to or own_form(encoder)
        write_artefact(encoder, aside, form)
        (aside / FILE).chmod(0o644)  # safetensors lets nobody else read
        module = study_name(encoder, aside, form, str(folder))
        (aside / "README.md").write_text(encoder_card(record, plan, encoder, form, folder.name))
        files = tuple(sorted(path.name for path in aside.iterdir()))
    return Written(encoder.card.name, encoder.card.source, form, module, files)


def encoder_card(record: Record, plan: Finetune | Inject, encoder: Encoder, form: Form, folder: str) -> str:
    """What the encoder is, what it was trained on and how, and how it is loaded: Markdown with hub front matter."""
    facts, run = encoder.card, f'module = "{plan.spec.vision.module}", weights = "run:{record.id}"'
    front = [f"library_name: {LIBRARIES[form]}", "pipeline_tag: image-feature-extraction"]
    front += ["tags: [vision-encoder, robotics]"]
    shape = f"`[1, {facts.tokens}, {facts.dim}]`"
    lines = ["---", *front, "---", "", f"# Vision encoder {record.id}", "", _made(plan, facts), ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in _recipe(record, plan).items()), ""]
    lines += ["## What was trained", "", *ledger_lines(record.ledger()), "", "## How to load it", ""]
    lines += [f"From a Pillow image in RGB, `image`, to `tokens` {shape}; `card.json` states every fact.", ""]
    lines += ["```python", *loading(encoder, form, folder), "```", ""]
    lines += [f"Beside its run, a study's vision slot says `{run}`.", *_retention(record), ""]
    return "\n".join(lines)


def _made(plan: Finetune | Inject, card: Card) -> str:
    begun = f"`{card.name}` (`{card.source}`, weights: {card.licence})"
    match plan:
        case Inject():
            told = facts(plan.objective)
            last = " in this last stage" if plan.spec.vision.weights.startswith("run:") else ""
            control = f" It is a negative control: nothing of control was taught{last}." if told.control else ""
            return f"{begun}, injected with `{plan.objective}`: {told.does} ({told.paper}).{control}"
        case Finetune():
            return f"{begun}, finetuned as the eyes of a robot policy that imitates demonstrations."


def _recipe(record: Record, plan: Finetune | Inject) -> dict[str, str]:
    rows = {"backbone": plan.spec.backbone, "started from": plan.spec.vision.weights, "data": _data(plan.data)}
    rows |= {"digest of the data": record.result["data_digest"], "budget": _stated(plan.budget)}
    rows |= {"seed": str(plan.seed), "compute": f"{record.result['device']}, {record.result['dtype']}"}
    if isinstance(plan, Finetune) and plan.inputs != Inputs():
        rows["inputs"] = _stated(plan.inputs)
    return rows | {
        "run": record.id,
        "revision of the workbench": record.result["machine"].get("revision", "not recorded"),
    }


def _data(data: Data) -> str:
    """Without the path of a folder, which means nothing elsewhere."""
    return f"a LeRobot dataset, {Path(data.path).name}" if isinstance(data, Folder) else _stated(data)


def _stated(value: Value) -> str:
    """Every field in words: `tasks reach, lift; episodes 200`."""
    said = []
    for name, one in value.model_dump(mode="json").items():
        said.append(f"{name.replace('_', ' ')} {', '.join(map(str, one)) if isinstance(one, list) else one}")
    return "; ".join(said)


def _retention(record: Record) -> list[str]:
    """A section where figures were measured, and nothing where not. Raises UserError for what is no flat mapping."""
    path = record.folder / RETENTION
    if not path.exists():
        return []
    measured = read_json(path)
    if not isinstance(measured, dict) or not all(isinstance(one, int | float) for one in measured.values()):
        raise UserError(f"{path} holds no figures (a name and a number each): measure retention again.")
    rows = [f"| {name} | {one:.4g} |" for name, one in measured.items()]
    return ["", "## What it has kept", "", "| measure | value |", "|---|--:|", *rows]
