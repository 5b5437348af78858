"""Low-rank updates folded into the weights that they update."""

from copy import deepcopy

from torch import nn

from encoders.torchvision_ops import ensure


def merged(module: nn.Module) -> nn.Module:
    """A copy of `module` with its low-rank updates folded in; `module` itself where it has none."""
    if not any(".lora_" in key for key, _ in module.named_parameters()):
        return module
    copy = deepcopy(module)
    fold(copy)
    return copy


def fold(module: nn.Module) -> None:
    """Merge every low-rank update within `module` (LoRA, DoRA, also of experts) into its weights, in place.

    What is left are the plain layers under their own names; outputs are the same up to rounding.
    """
    ensure()  # peft imports torchvision
    from peft.tuners.lora import LoraLayer  # seconds, and only here

    updated = {name: layer for name, layer in module.named_modules() if isinstance(layer, LoraLayer)}
    for layer in updated.values():
        layer.merge()
    for name, layer in updated.items():
        parent, _, last = name.rpartition(".")
        if parent not in updated:  # two tensors of the same experts: one wrapper lies in the other
            setattr(module.get_submodule(parent), last, layer.get_base_layer())
