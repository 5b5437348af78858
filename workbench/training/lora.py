"""Low-rank updates in one slot, through peft: which layers get them, and what cannot have them."""

import fnmatch
import re
from typing import Any

from torch import nn

from workbench.errors import UserError
from workbench.spec import Lora, SlotName


def inject(slot: nn.Module, name: SlotName, tune: Lora) -> None:
    """Give `slot` the new parameters that `tune` asks for; their names contain `.lora_`. Draws them at random.

    Raises UserError where there is nothing to adapt, where a target names nothing, and where peft knows no such update.
    """
    from peft import LoraConfig, inject_adapter_in_model

    layers, experts = _targets(slot, name, tune)
    if experts and (tune.dropout or tune.dora):
        raise UserError(
            f"The experts of the slot {name!r} take LoRA without dropout and dora only; leave these out, or name other "
            "layers in targets, such as '*.self_attn.*'."
        )
    exact = "^(" + "|".join(re.escape(key) for key in layers) + ")$" if layers else None
    alpha: Any = tune.alpha  # annotated int by peft, which only divides it by the rank
    config = LoraConfig(
        r=tune.rank,
        lora_alpha=alpha,
        lora_dropout=tune.dropout,
        use_dora=tune.dora,
        target_modules=exact,
        target_parameters=experts or None,
    )
    inject_adapter_in_model(config, slot)


def _targets(slot: nn.Module, name: SlotName, tune: Lora) -> tuple[list[str], list[str]]:
    """Names of the linear layers, and of the expert tensors `[experts, out, in]`, that get low-rank updates."""
    read = {id(m.out_proj) for m in slot.modules() if isinstance(m, nn.MultiheadAttention)}  # never called: dead there
    layers = [key for key, m in slot.named_modules() if isinstance(m, nn.Linear) and id(m) not in read]
    experts = [key for key, p in slot.named_parameters() if p.ndim == 3 and key.split(".")[-2:-1] == ["experts"]]
    if not layers and not experts:
        raise UserError(f"The slot {name!r} has no linear layer for LoRA; tune it with 'full' or 'frozen'.")
    for pattern in tune.targets or ():
        if not fnmatch.filter([*layers, *experts], pattern):
            endings = sorted({key.split(".")[-1] for key in [*layers, *experts]})
            raise UserError(
                f"No layer of the slot {name!r} has a name like {pattern!r}; its layers' names end in "
                f"{', '.join(endings)}. A pattern covers the whole name, as '*.{endings[0]}' does."
            )
    patterns = tune.targets or ("*",)
    layers = [key for key in layers if any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)]
    return layers, [key for key in experts if any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)]
