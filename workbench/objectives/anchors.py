"""What holds an encoder where it was, beside an objective that teaches it: near its weights, or near its features."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from encoders.contract import Encoder
from encoders.torchvision_ops import ensure
from workbench.objectives.contract import Given, Objective
from workbench.objectives.moments import Signals
from workbench.policy import Policy

# B moments  N image tokens  D encoder width


class KeepWeights(Objective):
    """L2-SP (arXiv:1802.01483, §3): the sum of squared differences of what is trained from where it was.

    Of a LoRA that is its update, as it is added to the weight, and not the factors of it.
    """

    def __init__(self, given: Given) -> None:
        super().__init__()
        with torch.no_grad():
            self.before = {name: value.clone() for name, value in trained_values(given.policy.vision).items()}

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        now = trained_values(policy.vision)
        moved = [(now[name] - before).float().square().sum() for name, before in self.before.items()]
        return {"weights": torch.stack(moved).sum()}


class KeepFeatures(Objective):
    """1 − cosine between each token and that of the encoder as it was, of the same pictures.

    DELTA (arXiv:1901.09229, §3) with cosines, which leave a feature's length free, in place of its weighted squares.
    """

    def __init__(self, given: Given) -> None:
        super().__init__()
        self.before = copy.deepcopy(given.policy.vision).eval().requires_grad_(False)

    def loss(self, policy: Policy, signals: Signals) -> Mapping[str, Tensor]:
        image_BHWC = signals.image_BHWC
        with torch.no_grad():
            before_BND = self.before(image_BHWC).float()
        now_BND = policy.vision(image_BHWC).float()
        return {"features": 1 - functional.cosine_similarity(now_BND, before_BND, dim=-1).mean()}


def trained_values(vision: Encoder) -> dict[str, Tensor]:
    """What the training of `vision` changes, by name: weights, and the low-rank updates that are added to some."""
    values: dict[str, Tensor] = {
        name: p for name, p in vision.named_parameters() if p.requires_grad and not _is_factor(name)
    }
    if any(_is_factor(name) for name, _ in vision.named_parameters()):
        values |= _updates(vision)
    return values


def _is_factor(name: str) -> bool:
    """Whether a parameter is one of a low-rank update's two factors; DoRA's magnitude is no factor."""
    return ".lora_" in name and ".lora_magnitude_vector." not in name


def _updates(vision: Encoder) -> dict[str, Tensor]:
    ensure()  # peft imports torchvision
    from peft.tuners.lora import LoraLayer  # seconds, and only here

    layers: dict[str, Any] = {name: layer for name, layer in vision.named_modules() if isinstance(layer, LoraLayer)}
    return {
        f"{name}.{adapter}": layer.get_delta_weight(adapter)
        for name, layer in layers.items()
        for adapter in layer.active_adapters
    }
