"""From a name to a backbone taken apart."""

from pathlib import Path
from typing import Any, Literal

import torch

from encoders.pretrained import check_weights, read_pretrained
from encoders.torchvision_ops import ensure
from workbench.backbones.chat import Answers, Chat, build_chat, chat_template
from workbench.backbones.contract import Backbone
from workbench.backbones.conventions import conventional, probe
from workbench.backbones.family import Family, take_apart
from workbench.backbones.gemma3 import GEMMA3
from workbench.backbones.idefics3 import IDEFICS3, SMOLVLM
from workbench.backbones.internvl import INTERNVL
from workbench.backbones.kosmos2 import KOSMOS2
from workbench.backbones.llava import LLAVA, LLAVA_ONEVISION
from workbench.backbones.paligemma import INSTRUCTION, PALIGEMMA
from workbench.backbones.qwen import QWEN2_5_VL, QWEN3_VL
from workbench.backbones.source import BACKBONES, EMBEDDED, complete, folder
from workbench.backbones.towers import Origin, Pixels
from workbench.errors import UserError
from workbench.plan import Compute

__all__ = ["BACKBONES", "EMBEDDED", "FAMILIES", "folder", "load_backbone"]

FAMILIES: dict[str, Family] = {
    "gemma3": GEMMA3,
    "idefics3": IDEFICS3,
    "internvl": INTERNVL,
    "kosmos-2": KOSMOS2,
    "llava": LLAVA,
    "llava_onevision": LLAVA_ONEVISION,
    "paligemma": PALIGEMMA,
    "qwen2_5_vl": QWEN2_5_VL,
    "qwen3_vl": QWEN3_VL,
    "qwen3_vl_moe": QWEN3_VL,
    "smolvlm": SMOLVLM,
}
"""By the configuration's `model_type`."""

FILTERS = {1: "bicubic", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers. Lanczos (1) exists for no tensor: transformers' own tensor processors take bicubic for it too."""


PREFIX_MASKS = ("gemma3", "paligemma")
"""Families whose decoder lets some tokens see later ones: transformers' flash attention drops that mask."""


def load_backbone(
    name: str,
    *,
    weights: Literal["pretrained", "random"],
    seed: int,
    prompt: str | None = None,
    compute: Compute = Compute(),  # noqa: B008  # a frozen value
) -> Backbone:
    """The slots of `name`, in float32; `random` draws every parameter from `seed`, as the class initialises itself.

    `prompt` is what the user says in the family's chat template, with `{instruction}` in it; None: the family's own.
    Of `compute` attention and checkpointing are used.
    Raises UserError for a name, a folder, a family or a prompt that cannot be used.
    """
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    path = complete(name, weights=weights == "pretrained")
    config = read_config(path, name)
    listed = FAMILIES.get(config.model_type)
    model = _random(config, listed, seed, name) if weights == "random" else _read(config, path, name)
    prepare(model, compute)
    family = listed or conventional(model, name)
    chat = read_chat(path, family, config, name=name, prompt=prompt)
    probed = None if listed else probe(model, name, chat.image_at)
    total = model.num_parameters()
    slots = take_apart(model, family, origin(name, family, _pixels(path, name)), image_at=chat.image_at)
    if probed:
        probed.confirm(slots)
    parts = vars(slots)
    own = (slots.vision, slots.projector, slots.embeddings, slots.language)
    kept = {id(parameter): parameter for slot in own for parameter in slot.parameters()}
    unused = total - sum(parameter.numel() for parameter in kept.values())
    text = {"tokenize": chat, "prompt": chat.prompt, "chat": chat.text, "answers": Answers(chat.tokenizer)}
    return Backbone(name=name, family=config.model_type, **parts, **text, unused_parameters=unused)


def prepare(model: Any, compute: Compute) -> None:
    """In float32, with the attention and the checkpointing that are asked for. Raises UserError where it has none."""
    model.float()
    if compute.attention == "flash_attention_2" and model.config.model_type in PREFIX_MASKS:
        raise UserError(
            f"compute.attention is 'flash_attention_2', whose masks are causal: a {model.config.model_type} would lose "
            "its bidirectional prefix. Use 'sdpa' or 'eager'."
        )
    if compute.attention != "auto":
        try:
            model.set_attn_implementation(compute.attention)
        except (ValueError, ImportError) as error:
            raise UserError(f"compute.attention is {compute.attention!r}, which cannot be had: {error}") from error
    if compute.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def prompt_of(name: str) -> str:
    """The whole text that the decoder of `name` reads, image placeholder and `{instruction}` left open.

    Needs tokenizer and processor files, no weights. Raises UserError where they are missing.
    """
    path = complete(name, weights=False)
    config = read_config(path, name)
    if config.model_type not in FAMILIES:
        raise UserError(
            f"The prompt of {name!r} is known once its weights are loaded: {config.model_type!r} is no listed family "
            f"({', '.join(FAMILIES)}). Look at it with --config-only."
        )
    return read_chat(path, FAMILIES[config.model_type], config, name=name, prompt=None).text


def read_config(path: Path, name: str) -> Any:
    """The configuration in `path`. Raises UserError for one that transformers does not know."""
    ensure()
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        return read_pretrained(AutoConfig, path)
    except (OSError, ValueError, TypeError, AttributeError, StrictDataclassError) as error:  # no JSON, no such family
        raise UserError(f"The configuration of backbone {name!r} cannot be read: {error}") from error


def model_class(config: Any, name: str) -> Any:
    """The class that `AutoModelForImageTextToText` would take. Raises UserError where there is none."""
    ensure()
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING as CLASSES

    if type(config) not in CLASSES:
        raise UserError(
            f"The backbone {name!r} is a {config.model_type!r}, which reads no images; "
            f"the families known so far: {', '.join(FAMILIES)}."
        )
    return CLASSES[type(config)]


def origin(name: str, family: Family, pixels: Pixels) -> Origin:
    """What the native tower's card says of where it comes from."""
    licence = "Apache-2.0" if name in BACKBONES else f"stated in the model card of {name}"
    return Origin(name, pixels, family.paper, licence)


def read_chat(path: Path, family: Family, config: Any, *, name: str, prompt: str | None) -> Chat:
    """The chat of the folder's own tokenizer and template around `prompt` (None: the family's own).

    Raises UserError where it has no tokenizer, or where prompt or template cannot be used.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = read_pretrained(AutoTokenizer, path)
    except (OSError, ValueError) as error:
        raise UserError(f"The backbone {name!r} has no tokenizer in {path}: {error}") from error
    marker = family.marker or tokenizer.convert_ids_to_tokens(config.image_token_id)
    own = INSTRUCTION if (path / "recipe.json").is_file() else family.question
    said = own if prompt is None else prompt
    return build_chat(family, tokenizer, chat_template(path, tokenizer), marker, said)


def _pixels(path: Path, name: str) -> Pixels:
    """The statistics that the folder's own processor normalises with."""
    from transformers import AutoImageProcessor

    try:
        processor: Any = read_pretrained(AutoImageProcessor, path)
    except (OSError, ValueError) as error:
        raise UserError(f"The backbone {name!r} has no image processor in {path}: {error}") from error
    if processor.resample not in FILTERS:
        raise UserError(f"The image processor of {name!r} resizes with filter {processor.resample}; known: {FILTERS}.")
    interpolation: Any = FILTERS[processor.resample]
    return Pixels(tuple(processor.image_mean), tuple(processor.image_std), interpolation)


def _random(config: Any, listed: Family | None, seed: int, name: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config, name)(config)
        if listed:
            listed.randomise(model)
    return model


def _read(config: Any, path: Path, name: str) -> Any:
    from safetensors import SafetensorError

    try:
        check_weights(path)
        loaded: Any = model_class(config, name).from_pretrained(
            path, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"The weights of backbone {name!r} in {path} cannot be read ({error}). Copy or make them again."
        ) from error
    model, report = loaded
    wrong = {kind: sorted(keys) for kind, keys in report.items() if keys}
    if wrong:
        raise UserError(f"The weights of backbone {name!r} in {path} do not fit its configuration: {wrong}")
    return model
