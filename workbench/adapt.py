"""What of each slot is trained: the only module that touches `requires_grad`. It decides every parameter."""

import re
from collections.abc import Sequence
from typing import assert_never

from torch import nn

from workbench.errors import UserError
from workbench.policy import Policy
from workbench.spec import SLOTS, Frozen, Full, LastBlocks, Lora, SlotName, Spec


def adapt(policy: Policy, spec: Spec) -> None:
    """Freeze, train or partly train each slot of `policy` as `spec` says, and put it in training mode."""
    undecided = set(dict(policy.named_parameters()))
    for name in SLOTS:
        tune, slot = spec.slot(name).tune, policy.get_submodule(name)
        undecided -= {f"{name}.{key}" for key, _ in slot.named_parameters()}
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
    if undecided:
        raise AssertionError(f"parameters that belong to no slot: {sorted(undecided)}")
    policy.frozen = frozenset(name for name in SLOTS if isinstance(spec.slot(name).tune, Frozen))
    policy.train()


def _low_rank(slot: nn.Module, name: SlotName, tune: Lora) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    linear = [key for key, module in slot.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError(f"The slot {name!r} has no linear layer for LoRA; tune it with 'full' or 'frozen'.")
    exact = "^(" + "|".join(re.escape(key) for key in linear) + ")$"
    slot.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=tune.rank, lora_alpha=tune.alpha, target_modules=exact), slot)
    for key, parameter in slot.named_parameters():
        parameter.requires_grad = ".lora_" in key


def _last_blocks(slot: nn.Module, name: SlotName, tune: LastBlocks) -> None:
    if name not in ("vision", "language"):
        raise UserError(f"The slot {name!r} has no blocks; 'last-blocks' is for vision and language.")
    blocks: Sequence[nn.Module] = slot.blocks  # type: ignore[assignment]
    if tune.blocks > len(blocks):
        raise UserError(f"The slot {name!r} has {len(blocks)} blocks, fewer than the {tune.blocks} to be trained.")
    slot.requires_grad_(False)
    for block in blocks[len(blocks) - tune.blocks :]:
        block.requires_grad_(True)
