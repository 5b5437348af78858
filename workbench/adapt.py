"""What of each slot is trained: the only module that touches `requires_grad`. It decides every parameter."""

import re
from typing import Any, assert_never

import torch
from torch import nn

from encoders.contract import Encoder
from workbench.backbones.contract import Language
from workbench.errors import UserError
from workbench.policy import Policy
from workbench.spec import SLOTS, Frozen, Full, LastBlocks, Lora, SlotName, Spec


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
        case _:
            assert_never(tune)


def _low_rank(slot: nn.Module, name: SlotName, tune: Lora) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    linear = [key for key, module in slot.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError(f"The slot {name!r} has no linear layer for LoRA; tune it with 'full' or 'frozen'.")
    exact = "^(" + "|".join(re.escape(key) for key in linear) + ")$"
    slot.requires_grad_(False)
    alpha: Any = tune.alpha  # annotated int by peft, which only divides it by the rank
    inject_adapter_in_model(LoraConfig(r=tune.rank, lora_alpha=alpha, target_modules=exact), slot)
    for key, parameter in slot.named_parameters():
        parameter.requires_grad = ".lora_" in key


def _last_blocks(slot: nn.Module, name: SlotName, tune: LastBlocks) -> None:
    if not isinstance(slot, Encoder | Language):
        raise UserError(f"The slot {name!r} has no blocks; 'last-blocks' is for vision and language.")
    blocks = slot.blocks
    if tune.blocks > len(blocks):
        raise UserError(f"The slot {name!r} has {len(blocks)} blocks, fewer than the {tune.blocks} to be trained.")
    slot.requires_grad_(False)
    for block in blocks[len(blocks) - tune.blocks :]:
        block.requires_grad_(True)
