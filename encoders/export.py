"""A trained encoder as the plain weights file of the library that it comes from."""

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from encoders.contract import Encoder
from encoders.errors import UnsupportedEncoder
from encoders.merged import merged


def export_state_dict(encoder: Encoder) -> dict[str, Tensor]:
    """The tensors under the names of the library's own model, which loads them with `strict=True`.

    - timm: `timm.create_model(NAME, num_classes=0)`, with `img_size=card.side` where the card's side is not the
      published one. With `open_clip:` names whose tower is timm's, the same (`model.visual.trunk`).
    - open_clip: `open_clip.create_model(NAME).visual`.
    - transformers: `AutoModel.from_config(config)`, config being that of the vision tower.

    What is no part of the encoder (`encoder.unread`: what the tokens do not depend on, and a native tower's projector)
    goes out as it came in, on the CPU. Low-rank updates are merged into the weights; the encoder itself stays as it is.
    Raises `UnsupportedEncoder` for one without a library's model: of a fused one each member is exported, of raw
    patches nothing.
    """
    check_one_model(encoder)
    tower = merged(encoder.get_submodule("tower"))
    read = {key: value.detach().cpu().contiguous() for key, value in tower.state_dict().items()}
    return read | {key: value.cpu().contiguous() for key, value in encoder.unread.items()}


def save_export(encoder: Encoder, path: Path) -> None:
    """The same as a safetensors file, which `NAME@FILE` also reads."""
    tensors = export_state_dict(encoder)
    save_file({key: value.clone() for key, value in tensors.items()}, path, metadata={"format": "pt"})


def check_one_model(encoder: Encoder) -> None:
    """Raises `UnsupportedEncoder` for an encoder that is no single library's model."""
    if "tower" not in dict(encoder.named_children()):
        members = [name for name, child in encoder.named_children() if isinstance(child, Encoder)]
        remedy = f"export its members {' and '.join(members)}" if members else "it has no weights"
        raise UnsupportedEncoder(f"'{encoder.card.name}' is no single library's model: {remedy}.")
