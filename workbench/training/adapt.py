"""What of each slot is trained: the only module that touches `requires_grad`. It decides every parameter."""

from typing import assert_never

import torch
from torch import nn

from encoders.contract import Encoder
from workbench.backbones.contract import Language
from workbench.errors import UserError
from workbench.policy import Policy
from workbench.spec import SLOTS, Frozen, Full, LastBlocks, Lora, Norms, SlotName, Spec, only_head
from workbench.training.lora import inject


def adapt(policy: Policy, spec: Spec, *, seed: int) -> None:
    """Freeze, train or partly train each slot of `policy` as `spec` says, and put it in training mode.

    New low-rank weights are drawn from `seed`; the global generator is left alone.
    """
    undecided = {key for key, _ in policy.named_parameters() if key.split(".")[0] not in SLOTS}
    if undecided:
        raise AssertionError(f"parameters that belong to no slot: {sorted(undecided)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in SLOTS:
            _tune(policy.get_submodule(name), name, spec)
    if not any(parameter.requires_grad for parameter in policy.parameters()):
        raise UserError("Every slot of this model is frozen, so there is nothing to train; train at least one.")
    policy.language.prefix_once = only_head(spec)
    policy.frozen = frozenset(name for name in SLOTS if isinstance(spec.slot(name).tune, Frozen))
    policy.train()


def _tune(slot: nn.Module, name: SlotName, spec: Spec) -> None:
    tune = spec.slot(name).tune
    match tune:
        case Frozen():
            slot.requires_grad_(False)
        case Full():
            slot.requires_grad_(True)
        case Lora():
            _low_rank(slot, name, tune)
        case LastBlocks():
            _last_blocks(slot, name, tune)
        case Norms():
            _norms(slot, name)
        case _:
            assert_never(tune)


def _low_rank(slot: nn.Module, name: SlotName, tune: Lora) -> None:
    slot.requires_grad_(False)
    inject(slot, name, tune)
    for key, parameter in slot.named_parameters():
        parameter.requires_grad = ".lora_" in key


def _norms(slot: nn.Module, name: SlotName) -> None:
    """Normalisation layers are known by their class's name: transformers has an RMSNorm for each family."""
    own = [p for m in slot.modules() if "Norm" in type(m).__name__ for p in m.parameters(recurse=False)]
    if not own:
        raise UserError(f"The slot {name!r} has no normalisation layer; tune it with 'full' or 'frozen'.")
    slot.requires_grad_(False)
    for parameter in own:
        parameter.requires_grad = True


def _last_blocks(slot: nn.Module, name: SlotName, tune: LastBlocks) -> None:
    if not isinstance(slot, Encoder | Language):
        raise UserError(f"The slot {name!r} has no blocks; 'last-blocks' is for vision and language.")
    blocks = slot.blocks
    if tune.blocks > len(blocks):
        raise UserError(f"The slot {name!r} has {len(blocks)} blocks, fewer than the {tune.blocks} to be trained.")
    slot.requires_grad_(False)
    for block in blocks[len(blocks) - tune.blocks :]:
        block.requires_grad_(True)
