"""Any vision tower of transformers (`hf:ID`, a hub id or a local folder): its card, and the encoder.

Shapes: M tokens with prefix  N image tokens  D encoder width
"""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from encoders.checkpoint import check_keys, read_checkpoint
from encoders.contract import Card, Encoder, Facts, Interpolation
from encoders.errors import UnsupportedEncoder, WeightsMismatch, WeightsMissing
from encoders.hf_vit import HfViT
from encoders.hub import FILE, weights_file
from encoders.pretrained import INDEX, check_weights, read_pretrained, weight_map
from encoders.torchvision_ops import ensure
from encoders.tower_inputs import required_inputs
from encoders.unread import take_out_unread

ensure()  # transformers' vision models import torchvision

import transformers  # noqa: E402
from transformers import AutoConfig, AutoImageProcessor, AutoModel, PreTrainedConfig, PreTrainedModel  # noqa: E402
from transformers.utils.logging import get_verbosity, set_verbosity, set_verbosity_error  # noqa: E402

PREFIX = "hf:"
PILLOW: dict[int, Interpolation] = {2: "bilinear", 3: "bicubic"}  # Pillow's own numbers


def hf_card(identifier: str) -> Card:
    """A card from the model's `config.json` and `preprocessor_config.json`, its shapes from the meta device.

    Read at `last_hidden_state`, without what stands before the grid of patches. Raises `WeightsMissing` where one of
    the two files is not to be had, and `UnsupportedEncoder` for a model that is no tower of one grid of patches.
    """
    configuration, processor = _tower_configuration(identifier), _processor(identifier)
    side = _side(identifier, processor)
    with torch.device("meta"):
        tower = _check_tower(identifier, AutoModel.from_config(configuration)).eval()
        seen_BMD = tower(pixel_values=torch.empty(1, 3, side, side)).last_hidden_state
    patch = _patch(identifier, configuration)
    tokens = (side // patch) ** 2
    if not isinstance(seen_BMD, Tensor) or seen_BMD.ndim != 3 or seen_BMD.shape[1] < tokens:
        raise UnsupportedEncoder(
            f"'{PREFIX}{identifier}' is a {type(tower).__name__}: at {side} px its last hidden state is "
            f"{list(seen_BMD.shape)}, not the {tokens} patches of {patch} px."
        )
    card = Card(
        name=PREFIX + identifier,
        side=side,
        tokens=tokens,
        dim=seen_BMD.shape[2],
        resize="squash",
        layer="last",
        prefix=seen_BMD.shape[1] - tokens,
        final_norm=False,
        paper=_home(identifier),
        **_facts(identifier, processor),
    )
    return card.model_copy(update={"final_norm": bool(HfViT(card, tower).unread)})  # a norm to be left out


def build_hf(card: Card, weights: Literal["random", "pretrained"] | Path) -> Encoder:
    """The encoder that the card describes; what the tokens do not depend on is taken out of the tower.

    `random`: transformers' own initialisation from the global generator. `pretrained`: the repository's or folder's
    weights. A path: a file of the tower alone. Every key must fit; of a whole model the other parts are left.
    Raises `WeightsMissing` and `WeightsMismatch`.
    """
    identifier = card.source.removeprefix(PREFIX)
    configuration = _tower_configuration(identifier)
    if weights == "random":
        encoder = HfViT(card, AutoModel.from_config(configuration))
        take_out_unread(encoder)
        return encoder
    if isinstance(weights, Path):
        what, left = f"The file {weights} for '{card.source}'", set[str]()
        tower, report = _read(configuration, None, read_checkpoint(weights))
    else:
        folder = _weights_folder(identifier)
        what, left = f"What '{card.source}' holds", _of_other_parts(folder)
        tower, report = _read(configuration, folder, None)
    if report["mismatched_keys"]:
        raise WeightsMismatch(f"{what} does not fit: shapes of {sorted(map(str, report['mismatched_keys']))[:10]}.")
    encoder = HfViT(card, tower)
    take_out_unread(encoder)
    read = set(encoder.tower.state_dict())  # a pooling head, say, may be missing: it is not read
    check_keys(missing=report["missing_keys"] & read, unexpected=report["unexpected_keys"] - left, what=what)
    return encoder


def _read(
    configuration: PreTrainedConfig, folder: Path | None, state: dict[str, Tensor] | None
) -> tuple[PreTrainedModel, dict[str, set[str]]]:
    """The tower in float32, and what did not fit, as transformers reports it."""
    with torch.device("meta"):
        kind = type(AutoModel.from_config(configuration))
    loud = get_verbosity()
    set_verbosity_error()  # what does not fit is raised below, not logged
    try:
        tower, report = kind.from_pretrained(
            folder,
            config=configuration,
            state_dict=state,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported, and raised below
            use_safetensors=True,
            local_files_only=True,
        )
    finally:
        set_verbosity(loud)
    return tower, {key: set(keys) for key, keys in report.items()}


def _of_other_parts(folder: Path) -> set[str]:
    """The keys of the model that was saved there: its text tower, its heads. The class is the configuration's."""
    configuration = read_pretrained(AutoConfig, folder)
    known = [name for name in configuration.architectures or () if name in dir(transformers)]
    kinds = [getattr(transformers, name) for name in known]
    with torch.device("meta"):
        whole = [kind(configuration) for kind in kinds]
    return {key for model in whole for key in model.state_dict()}


def _tower_configuration(identifier: str) -> PreTrainedConfig:
    folder = _file(identifier, "config.json").parent
    try:
        whole = read_pretrained(AutoConfig, folder)
    except (OSError, ValueError) as error:  # no JSON; also what needs code of its own: none is run
        raise UnsupportedEncoder(
            f"transformers does not know the model '{identifier}': {' '.join(str(error).split())[:200]}"
        ) from error
    parts: Any = whole.sub_configs  # of a model that has several towers
    return whole.vision_config if "vision_config" in parts else whole


def _processor(identifier: str) -> Any:
    folder = _file(identifier, "preprocessor_config.json").parent
    try:
        return read_pretrained(AutoImageProcessor, folder)
    except (OSError, ValueError) as error:
        raise UnsupportedEncoder(
            f"The processor of '{PREFIX}{identifier}' cannot be read: {' '.join(str(error).split())[:200]}"
        ) from error


def _facts(identifier: str, processor: Any) -> Facts:
    if processor.resample not in PILLOW:
        raise UnsupportedEncoder(
            f"'{PREFIX}{identifier}' resizes by Pillow's filter {processor.resample}; the choices are 2 (bilinear) "
            "and 3 (bicubic)."
        )
    return Facts(
        source=PREFIX + identifier,
        mean=tuple(processor.image_mean) if processor.do_normalize else (0.0, 0.0, 0.0),
        std=tuple(processor.image_std) if processor.do_normalize else (1.0, 1.0, 1.0),
        interpolation=PILLOW[processor.resample],
        licence=f"not stated by transformers: see {_home(identifier)}",
    )


def _side(identifier: str, processor: Any) -> int:
    """What the processor gives its model: the crop where it crops, else the resized frame."""
    size = dict(processor.crop_size if processor.do_center_crop else processor.size)
    edges = {size[name] for name in ("height", "width", "shortest_edge") if size.get(name) is not None}
    if len(edges) != 1:
        raise UnsupportedEncoder(f"'{PREFIX}{identifier}' has no one side: its processor states {size}.")
    return edges.pop()


def _patch(identifier: str, configuration: PreTrainedConfig) -> int:
    stated = configuration.to_dict().get("patch_size")
    edges = set(stated) if isinstance(stated, list | tuple) else {stated}
    if len(edges) != 1 or not isinstance(patch := edges.pop(), int):
        raise UnsupportedEncoder(f"'{PREFIX}{identifier}' states no one patch size, so its tokens form no known grid.")
    return patch


def _check_tower(identifier: str, tower: PreTrainedModel) -> PreTrainedModel:
    needed = required_inputs(tower)
    if tower.main_input_name != "pixel_values" or set(needed) - {"pixel_values"}:
        raise UnsupportedEncoder(
            f"'{PREFIX}{identifier}' is a {type(tower).__name__}, which takes more than one square picture "
            f"({', '.join(needed) or tower.main_input_name})."
        )
    return tower


def _weights_folder(identifier: str) -> Path:
    if not Path(identifier).is_dir():
        file = weights_file(identifier, names=(FILE, INDEX))
        for shard in sorted(_shards(file)):
            weights_file(identifier, names=(shard,))
        return file.parent
    for name in (FILE, INDEX):
        if (Path(identifier) / name).is_file():
            _shards(Path(identifier) / name)
            return Path(identifier)
    raise WeightsMissing(
        f"The folder {identifier} holds no {FILE}. A pickle there can be named as a file: '{PREFIX}{identifier}@FILE'."
    )


def _shards(file: Path) -> set[str]:
    """The files that an index names; none of a file of weights."""
    try:
        check_weights(file.parent)
        return set(weight_map(file).values()) if file.name == INDEX else set()
    except ValueError as error:
        raise WeightsMismatch(f"{error}.") from error


def _file(identifier: str, name: str) -> Path:
    if not Path(identifier).is_dir():
        return weights_file(identifier, names=(name,))
    path = Path(identifier) / name
    if not path.is_file():
        raise WeightsMissing(f"The folder {identifier} holds no {name}, which states what the encoder is.")
    return path


def _home(identifier: str) -> str:
    return f"the folder {identifier}" if Path(identifier).is_dir() else f"https://huggingface.co/{identifier}"
