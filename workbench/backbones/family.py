"""What is particular to a family of vision-language models, as a value; and how any of them is taken apart."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from encoders.contract import Encoder
from encoders.unread import keep_unread
from workbench.backbones.contract import Language, LmHead
from workbench.backbones.decoder import Decoder, Reading, decoder_window
from workbench.backbones.towers import Origin, Pixels

QUESTION = "What action should the robotic arm take to {instruction}?"
"""The user's turn in every family's chat template (openvla's and VLM4VLA's question)."""


def nothing(model: Any) -> None:
    """Leaves the model as its class initialises it."""


def all_see_all(config: Any) -> str:
    return "every patch sees every patch"


@dataclass(frozen=True)
class Family:
    """One row of `FAMILIES`. Paths are module paths in the model that `AutoModelForImageTextToText` gives."""

    title: str
    paper: str
    pixels: Pixels
    """The published statistics: what `inspect` shows without a processor. A folder's own processor decides."""
    vision: str
    embeddings: str
    decoder: str
    """The module that reads: the decoder, or the model around it where that one makes the attention mask."""
    encode: Callable[[nn.Module, Any, Origin], Encoder]
    """Tower, configuration, origin → the vision slot."""
    project: Callable[[Any], nn.Module]
    """Takes the projector out of the model, leaving nothing of it in the tower or the decoder."""
    read: Callable[[Any], Reading]
    """Configuration → what the decoder is told."""
    template: str
    """The text around `{prompt}` where a folder has no chat template (or the family never has one)."""
    marker: str | None = None
    """The token in whose place the image stands; None: the configuration's `image_token_id`."""
    placeholder: tuple[str, str] | None = None
    """The image in a chat template, and what the processor makes of it around one marker; None: the marker itself."""
    templated: bool = True
    """Whether a folder's own chat template is used."""
    question: str = QUESTION
    vision_attention: Callable[[Any], str] = all_see_all
    """Configuration → what a patch sees of the others, in words."""
    randomise: Callable[[Any], None] = nothing
    """Draws what the class's own initialisation leaves at zero, so that random weights pass the image on."""


@dataclass(frozen=True)
class Slots:
    """The four slots that a model fills."""

    vision: Encoder
    projector: nn.Module
    embeddings: nn.Module
    language: Language
    lm_head: LmHead


def take_apart(model: Any, family: Family, origin: Origin, *, image_at: int) -> Slots:
    """The slots of `model`, which is used up: nothing of it is copied."""
    config = model.config
    text = config.get_text_config()
    tower = model.get_submodule(family.vision)
    before = tower.state_dict()
    projector = family.project(model)
    model.set_submodule(family.vision, nn.Identity())
    vision = family.encode(tower, config, origin)
    keep_unread(vision, before)
    embeddings = model.get_submodule(family.embeddings)
    model.set_submodule(family.embeddings, nn.Identity())
    base = model.get_submodule(family.decoder)
    language = Decoder(
        base, family.read(config), width=text.hidden_size, image_at=image_at, window=decoder_window(text)
    )
    return Slots(vision, projector, embeddings, language, lm_head(model, text))


def lm_head(model: Any, text: Any) -> LmHead:
    """The head of `model`, whose text configuration is `text`."""
    return LmHead(model.get_output_embeddings(), getattr(text, "final_logit_softcapping", None))


def taken(path: str) -> Callable[[Any], nn.Module]:
    """A `project` that takes the module at `path` as it is."""

    def take(model: Any) -> nn.Module:
        module = model.get_submodule(path)
        model.set_submodule(path, nn.Identity())
        return module

    return take


def always(reading: Reading) -> Callable[[Any], Reading]:
    """A `read` that is the same for every configuration."""
    return lambda config: reading
