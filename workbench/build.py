"""From a spec to a policy: which module fills each slot, and whose weights it starts from."""

from pathlib import Path
from typing import Literal

import torch
from torch import nn

from encoders.registry import UnknownEncoder, WeightsMissing, build_encoder
from workbench.backbones.contract import Backbone
from workbench.backbones.registry import load_backbone
from workbench.errors import UserError
from workbench.heads import build_head
from workbench.policy import Policy
from workbench.projectors import build_projector
from workbench.spec import SLOTS, SlotName, Spec
from workbench.weights import load_slot

ACTIONS = 7
BACKBONE_SLOTS: tuple[SlotName, ...] = ("vision", "projector", "embeddings", "language")
"""The slots that a backbone fills; the head is always new."""


def build(spec: Spec, seed: int, *, chunk: int, root: Path) -> tuple[Policy, Backbone]:
    """The policy of `spec`, and the backbone that knows how to tokenise for it.

    Random slots are drawn from `seed`; `run:<id>` slots are read from `root/<id>`. The global generator is left alone.
    """
    pretrained = load_backbone(spec.backbone, weights="pretrained", seed=seed)
    sources = {"pretrained": pretrained}
    if any(spec.slot(name).weights == "random" for name in BACKBONE_SLOTS):
        sources["random"] = load_backbone(spec.backbone, weights="random", seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = _assemble(spec, sources, seed, chunk)
    for name in SLOTS:
        weights = spec.slot(name).weights
        if weights.startswith("run:"):
            load_slot(policy.get_submodule(name), name, root / weights.removeprefix("run:"))
    return policy, pretrained


def _assemble(spec: Spec, sources: dict[str, Backbone], seed: int, chunk: int) -> Policy:
    def source(name: SlotName) -> Backbone:
        return sources["random" if spec.slot(name).weights == "random" else "pretrained"]

    vision = source("vision").vision
    if spec.vision.module != "native":
        weights: Literal["pretrained", "random"] = "random" if spec.vision.weights != "pretrained" else "pretrained"
        vision = _encoder(spec.vision.module, weights, seed)
    language, embeddings = source("language").language, source("embeddings").embeddings
    end_of_prompt = sources["pretrained"].tokenize([""]).ids_BT[0, -1]
    head = build_head(spec.head.module, embeddings(end_of_prompt), chunk=chunk, actions=ACTIONS)
    projector = source("projector").projector
    if spec.projector.module != "native":
        if spec.projector.weights == "pretrained":
            raise UserError(
                f"No backbone has a pretrained {spec.projector.module!r} projector; use weights = 'random'."
            )
        projector = build_projector(
            spec.projector.module, vision.card.dim, width=language.width, scale=_text_scale(embeddings)
        )
    elif vision.card.dim != source("projector").vision.card.dim:
        raise UserError(
            f"The native projector of {spec.backbone!r} takes tokens of width {source('projector').vision.card.dim}, "
            f"but {vision.card.name!r} gives {vision.card.dim}: replace the projector too (module 'linear' or 'mlp')."
        )
    return Policy(vision=vision, projector=projector, embeddings=embeddings, language=language, head=head)


def _encoder(name: str, weights: Literal["pretrained", "random"], seed: int):
    try:
        return build_encoder(name, weights=weights, seed=seed)
    except (UnknownEncoder, WeightsMissing) as error:
        raise UserError(str(error)) from error


def _text_scale(embeddings: nn.Module) -> float:
    """Root mean square of the text embeddings as the language model sees them (Gemma scales its own by √E)."""
    with torch.no_grad():
        return float(embeddings(torch.arange(100)).pow(2).mean().sqrt())
