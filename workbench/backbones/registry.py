"""From a name to a backbone taken apart."""

from pathlib import Path
from typing import Any, Literal

import torch

from encoders.torchvision_ops import ensure
from workbench.backbones.contract import Backbone
from workbench.errors import UserError, unknown

EMBEDDED = Path(__file__).parent / "embedded_weights"
"""The pretrained copy that the package ships; `workbench pretrain` makes such a folder."""

BACKBONES: dict[str, Path] = {"embedded": EMBEDDED}


def folder(name: str) -> Path:
    """Where the backbone `name` lies: a registered one, or a local folder made by `workbench pretrain`."""
    if name in BACKBONES:
        found = BACKBONES[name]
    elif "/" in name:
        found = Path(name).expanduser()
    else:
        raise unknown("backbone", name, BACKBONES)
    if not (found / "config.json").is_file():
        raise UserError(
            f"The backbone {name!r} has no config.json in {found}. Make one with: workbench pretrain --output {found}"
        )
    return found


def load_backbone(name: str, *, weights: Literal["pretrained", "random"], seed: int) -> Backbone:
    """The slots of `name`; `random` draws every parameter from `seed`, through the class's own initialisation."""
    ensure()
    from transformers import AutoConfig, AutoTokenizer, PaliGemmaForConditionalGeneration
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()

    from workbench.backbones.paligemma import take_apart

    path = folder(name)
    config: Any = AutoConfig.from_pretrained(path, local_files_only=True)
    if config.model_type != "paligemma":
        raise UserError(f"The backbone {name!r} is a {config.model_type!r}; the families known so far: paligemma.")
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    if weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: Any = PaliGemmaForConditionalGeneration(config)
    else:
        model = _read(path, name)
    return take_apart(model.float(), tokenizer, name)


def _read(path: Path, name: str) -> Any:
    from safetensors import SafetensorError
    from transformers import PaliGemmaForConditionalGeneration

    try:
        loaded: Any = PaliGemmaForConditionalGeneration.from_pretrained(
            path, local_files_only=True, output_loading_info=True
        )
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"The weights of backbone {name!r} in {path} cannot be read ({error}). Copy or make them again."
        ) from error
    model, report = loaded
    wrong = {kind: sorted(keys) for kind, keys in report.items() if keys}
    if wrong:
        raise UserError(f"The weights of backbone {name!r} in {path} do not fit its configuration: {wrong}")
    return model
