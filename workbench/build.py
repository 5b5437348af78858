"""From a spec to a policy: which module fills each slot, and whose weights it starts from."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from encoders.contract import Card, Encoder
from encoders.registry import build_encoder
from encoders.shuffled import shuffle_weights
from workbench.actions import Actions
from workbench.backbones.contract import Backbone
from workbench.backbones.registry import load_backbone
from workbench.errors import UserError, encoder_errors
from workbench.fingerprint import check_contents
from workbench.heads.contract import Head
from workbench.heads.registry import build_head
from workbench.language_models import keep_first_blocks, load_language_model
from workbench.plan import Compute
from workbench.policy import Policy
from workbench.projectors import build_projector, image_tokens
from workbench.spec import SLOTS, SlotName, Spec, Tokens
from workbench.stages import take_over

PRETRAINED = ("pretrained", "shuffled")
"""Weights that a slot is built with before anything is done to them."""
Start = Literal["pretrained", "random"]
Sources = dict[Start, Backbone]


def build(
    spec: Spec,
    seed: int,
    *,
    chunk: int,
    root: Path,
    compute: Compute = Compute(),  # noqa: B008  # a frozen value
    actions: Actions = Actions(),  # noqa: B008  # a frozen value
) -> tuple[Policy, Backbone]:
    """The policy of `spec`, and the backbone that knows how to tokenise for it.

    Random slots are drawn from `seed`; `run:<id>` slots are read from `root/<id>`, low-rank updates merged; where they
    are to be kept, `stages.keep_adapters` reads them once the slot is adapted. The global generator is left alone.
    Of `compute` only attention and checkpointing are used here: the policy is in float32, where torch puts it.
    """
    check_contents(spec)
    sources: Sources = {}
    for name in SLOTS:
        if _from_backbone(spec, name) and (start := _weights(spec, name)) not in sources:
            sources[start] = _source(spec, start, seed, compute)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head_of = partial(build_head, spec.head.module, chunk=chunk, actions=actions, state=spec.proprioception)
        policy = _assemble(spec, sources, seed, head_of)
    for name in SLOTS:
        slot, weights = policy.get_submodule(name), spec.slot(name).weights
        if weights.startswith("run:") and spec.slot(name).adapters == "merged":
            take_over(slot, name, root / weights.removeprefix("run:"))
        if weights == "shuffled":
            shuffle_weights(slot, torch.Generator().manual_seed(seed))
    slots = {name: getattr(policy, name) for name in SLOTS if name != "head"}
    head = _chosen(spec, "embeddings", sources).lm_head  # whose weight may be that of the embeddings
    return policy, replace(_any(sources), **slots, lm_head=head)  # and not those that the policy did not take


def _from_backbone(spec: Spec, name: SlotName) -> bool:
    """Whether a backbone, or the language model put into it, fills the slot. A head is always new."""
    return name in ("embeddings", "language") or (name != "head" and spec.slot(name).module == "native")


def _weights(spec: Spec, name: SlotName) -> Start:
    """What a slot is built from; the weights of a run are copied over it afterwards."""
    return "random" if spec.slot(name).weights == "random" else "pretrained"


def _any(sources: Sources) -> Backbone:
    """For what is the same in all of them: tokenizer, sizes, what the decoder is told."""
    return next(iter(sources.values()))


def _source(spec: Spec, weights: Start, seed: int, compute: Compute) -> Backbone:
    """The backbone, with the language model and embeddings that the spec puts into it."""
    backbone = load_backbone(spec.backbone, weights=weights, seed=seed, prompt=spec.prompt, compute=compute)
    kind, _, value = spec.language.module.partition(":")
    match kind:
        case "native":
            return backbone
        case "first-blocks":
            dropped = keep_first_blocks(backbone.language, int(value))
            return replace(backbone, unused_parameters=backbone.unused_parameters + dropped)
        case "hf":
            other = load_language_model(value, weights=weights, seed=seed, prompt=backbone.prompt, compute=compute)
            return replace(backbone, **vars(other))
        case _:
            raise AssertionError(f"the spec let {kind!r} through")


def _assemble(spec: Spec, sources: Sources, seed: int, head_of: Callable[[Tensor], Head]) -> Policy:
    vision = _vision(spec, sources, seed)
    language = _chosen(spec, "language", sources).language
    embeddings = _chosen(spec, "embeddings", sources).embeddings
    end_of_prompt = _any(sources).tokenize([""]).ids_BT[0, -1]
    head = head_of(embeddings(end_of_prompt))
    if spec.projector.module == "native":
        projector = _native_projector(spec, sources, vision.card)
    elif spec.projector.weights in PRETRAINED:
        raise UserError(f"No backbone has a pretrained {spec.projector.module!r} projector; use weights = 'random'.")
    else:
        projector = build_projector(
            spec.projector.module,
            vision.card,
            width=language.width,
            scale=_text_scale(embeddings),
            tokens=_image_tokens(spec.projector.tokens, vision.card, _any(sources)),
        )
    return Policy(vision=vision, projector=projector, embeddings=embeddings, language=language, head=head)


def _chosen(spec: Spec, name: SlotName, sources: Sources) -> Backbone:
    return sources[_weights(spec, name)]


def _vision(spec: Spec, sources: Sources, seed: int) -> Encoder:
    if spec.vision.module == "native":
        return _chosen(spec, "vision", sources).vision
    with encoder_errors():
        weights = "pretrained" if spec.vision.weights in PRETRAINED else "random"
        return build_encoder(spec.vision.module, weights=weights, seed=seed)


def _native_projector(spec: Spec, sources: Sources, card: Card) -> nn.Module:
    backbone = _chosen(spec, "projector", sources)
    if card.dim != backbone.vision.card.dim:
        raise UserError(
            f"The native projector of {spec.backbone!r} takes tokens of width {backbone.vision.card.dim}, "
            f"but {card.name!r} gives {card.dim}: replace the projector too (module 'linear', 'mlp' or 'resampler')."
        )
    return backbone.projector


def _image_tokens(asked: Tokens, card: Card, backbone: Backbone) -> int:
    """How many tokens a new projector is to give."""
    match asked:
        case "keep":
            return card.tokens
        case "match":
            return image_tokens(backbone.projector, backbone.vision.card)
        case _:
            return asked


def _text_scale(embeddings: nn.Module) -> float:
    """Root mean square of the text embeddings as the language model sees them (Gemma scales its own by √E)."""
    if next(embeddings.parameters()).is_meta:
        return 1.0
    with torch.no_grad():
        return float(embeddings(torch.arange(100)).pow(2).mean().sqrt())
