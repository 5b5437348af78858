"""What a run's vision encoder has kept and gained: the encoder before and after, probed on the same frames."""

# B frames of a batch  N frames  T tokens  W width

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from encoders.contract import Encoder
from encoders.registry import build_encoder
from workbench.backbones.contract import Backbone
from workbench.build import build
from workbench.compute import place
from workbench.errors import encoder_errors
from workbench.plan import Compute
from workbench.policy import Policy
from workbench.probes.layers import READ, layers
from workbench.probes.linear import Reading, change, kernel, probe
from workbench.probes.material import Material
from workbench.probes.pointing import pointing_score
from workbench.probes.rank import effective_rank_of_covariance
from workbench.probes.similarity import Comparison
from workbench.spec import Slot, Spec

BATCH = 32


@dataclass(frozen=True)
class Layer:
    """One layer before and after: linear CKA, mean cosine, effective rank."""

    name: str
    cka: float
    cosine: float
    rank_before: float
    rank_after: float


@dataclass(frozen=True, eq=False)
class Probed:
    """An encoder by itself. `pointing` is None where no language model was trained to read it, or nothing is known."""

    readings: Mapping[str, Reading]
    pointing: float | None


Judge = tuple[Policy, Backbone]
"""The base itself: it says where things are, whichever encoder it looks through."""


@dataclass(frozen=True, eq=False)
class Base:
    """The encoder before, and who points; None where the encoder is none of a backbone's own."""

    encoder: Encoder
    judge: Judge | None


@dataclass(frozen=True, eq=False)
class Retention:
    """`layers` from the first block to the tokens that the policy reads."""

    before: Probed
    after: Probed
    layers: Sequence[Layer]

    @property
    def cka(self) -> float:
        """Mean over the layers."""
        return float(np.mean([layer.cka for layer in self.layers]))

    def interval(self, probe: str) -> tuple[float, float]:
        """95 % interval of what a probe's R² has changed by."""
        return change(self.before.readings[probe], self.after.readings[probe], np.random.default_rng(17))

    def figures(self) -> dict[str, float]:
        """Flat, name → number, for the model card of the encoder."""
        read = self.layers[-1]
        named = {"linear CKA with the encoder before, mean over layers": self.cka}
        named |= {f"linear CKA, {READ}": read.cka, f"cosine, {READ}": read.cosine}
        named |= {f"effective rank of {READ}, before": read.rank_before, f"effective rank of {READ}": read.rank_after}
        for name, reading in self.before.readings.items():
            named |= {f"R² of {name}, before": reading.r2, f"R² of {name}": self.after.readings[name].r2}
        if self.before.pointing is not None and self.after.pointing is not None:
            named |= {"pointing, before": self.before.pointing, "pointing": self.after.pointing}
        return named


def base_of(spec: Spec) -> Spec:
    """The same encoder with its published weights; a native one in its own backbone."""
    vision = spec.vision
    kept = Spec(backbone=spec.backbone, prompt=spec.prompt, contents=spec.contents)
    return kept if vision.module == "native" else kept.with_slot("vision", Slot(module=vision.module))


def open_base(spec: Spec, root: Path) -> Base:
    """The encoder before, from a spec that `base_of` gave. Raises UserError where its weights are not to be had."""
    device = place(Compute()).device
    if spec.vision.module != "native":
        with encoder_errors():
            return Base(build_encoder(spec.vision.module, weights="pretrained", seed=0).to(device), None)
    policy, backbone = build(spec, 0, chunk=1, root=root)
    return Base(policy.vision, (policy.eval().to(device), backbone))


def probe_encoder(encoder: Encoder, judge: Judge | None, material: Material) -> Probed:
    """One encoder by itself; of a judge the encoder is exchanged, and its projector and language model point."""
    device = place(Compute()).device
    encoder.requires_grad_(False).eval().to(device)
    with torch.no_grad():
        tokens = torch.cat([encoder(image_BHWC).cpu() for image_BHWC in _batches(material, device)])
    inner_NN = kernel(tokens.numpy(), material.parts.training_N)
    readings = {
        name: probe(inner_NN, targets, material.parts, material.episode_N) for name, targets in material.targets.items()
    }
    if judge is None or not material.privileged:
        return Probed(readings, None)
    judge[0].vision = encoder
    return Probed(readings, pointing_score(*judge, material))


def retention(base: Base, before: Probed, encoder: Encoder, material: Material) -> Retention:
    """A trained encoder probed, and set beside what it was, layer by layer, on all frames."""
    after = probe_encoder(encoder, base.judge, material)
    compared: dict[str, Comparison] = {}
    for image_BHWC in _batches(material, place(Compute()).device):
        was, now = layers(base.encoder, image_BHWC), layers(encoder, image_BHWC)
        for name, was_BTW in was.items():
            compared.setdefault(name, Comparison()).add(was_BTW, now[name])
    return Retention(before, after, [_layer(name, comparison) for name, comparison in compared.items()])


def _layer(name: str, comparison: Comparison) -> Layer:
    was, _, now = comparison.covariances()
    ranks = (effective_rank_of_covariance(was), effective_rank_of_covariance(now))
    return Layer(name, comparison.cka, comparison.cosine, *ranks)


def _batches(material: Material, device: torch.device) -> list[Tensor]:
    image_NHWC = torch.from_numpy(material.image_NHWC)
    return [image_NHWC[start : start + BATCH].to(device) for start in range(0, len(image_NHWC), BATCH)]
